package leveret_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

type question struct {
	N int `json:"n"`
}

func (q question) Validate() error {
	if q.N < 0 {
		return &leveret.Error{
			Code: leveret.InvalidArgument, Message: "n: must not be negative",
			Fields: []leveret.FieldViolation{{Field: "n", Detail: "must not be negative"}},
		}
	}
	return nil
}

var double = leveret.NewRequest[question, question]("seam.double")

// A transport's context may have a deadline of its own, which ends before the request's: the handler is interrupted all
// the same, and nobody knows how far it got.
func TestInterruptedByTheTransport(t *testing.T) {
	t.Parallel()
	h := leveret.NewHandlers(leveret.NewService("seam", leveret.Answers(double)), leveret.HandlersConfig{})
	double.Answer(h, func(ctx context.Context, q question) (question, error) {
		<-ctx.Done()
		return q, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	o := h.Process(ctx, &leveret.Message{Contract: double, Body: []byte(`{"n":1}`)}, nil)
	require.Equal(t, leveret.DeadlineExceeded, leveret.CodeOf(o.Err))
	require.ErrorIs(t, o.Err, leveret.ErrOutcomeUnknown)
}

// misanswered answers with what is no reply to the request.
type misanswered struct{}

func (misanswered) Call(_ context.Context, m *leveret.Message) error {
	m.Reply = []byte(`{"n":"x"}`)
	return nil
}

// A reply that cannot be read says that the request was handled, and not that it was wrong.
func TestReplyThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, err := double.Call(t.Context(), misanswered{}, question{1})
	require.Equal(t, leveret.Internal, leveret.CodeOf(err))
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.NotErrorIs(t, err, leveret.InvalidArgument)
}

// typedCaller hands Go values to handlers, as a transport does that encodes them itself.
type typedCaller[Q, R any] struct {
	request  *leveret.Request[Q, R]
	handlers *leveret.Handlers
}

func (c typedCaller[Q, R]) Call(ctx context.Context, m *leveret.Message) error {
	q, err := c.request.Payload(m)
	if err != nil {
		return err
	}
	reply, err := c.request.Process(ctx, c.handlers, &leveret.Message{ID: m.ID}, *q)
	if err != nil {
		return leveret.DecodeProblem(leveret.EncodeProblem(err))
	}
	c.request.SetReply(m, reply)
	return nil
}

// A transport that has Go values encodes nothing; middleware can have the bytes all the same, and may change them.
func TestProcessWithGoValues(t *testing.T) {
	t.Parallel()
	var bodies []string
	middleware := func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			require.Nil(t, m.Body)
			body, err := m.JSON()
			require.NoError(t, err)
			bodies = append(bodies, string(body))
			if string(body) == `{"n":7}` {
				m.Body = []byte(`{"n":8}`)
			}
			reply, err := m.ReplyJSON()
			require.NoError(t, err)
			require.Nil(t, reply)
			if err := next(ctx, m); err != nil {
				return err
			}
			if reply, err = m.ReplyJSON(); string(reply) == `{"n":18}` {
				m.Reply = []byte(`{"n":19}`)
			}
			return err
		}
	}
	service := leveret.NewService("seam", leveret.Answers(double))
	h := leveret.NewHandlers(service, leveret.HandlersConfig{Middleware: []leveret.Middleware{middleware}})
	double.Answer(h, func(_ context.Context, q question) (question, error) { return question{2 * q.N}, nil })
	require.NoError(t, h.Err())
	c := typedCaller[question, question]{double, h}

	for n, want := range map[int]int{1: 2, 7: 16, 9: 19} {
		reply, err := double.Call(t.Context(), c, question{n})
		require.NoError(t, err)
		require.Equal(t, want, reply.N)
	}
	require.ElementsMatch(t, []string{`{"n":1}`, `{"n":7}`, `{"n":9}`}, bodies)

	_, err := double.Process(t.Context(), h, &leveret.Message{}, question{-1})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	_, err = double.Process(t.Context(), leveret.NewHandlers(service, leveret.HandlersConfig{}), &leveret.Message{}, question{1})
	require.ErrorIs(t, err, leveret.ErrUndeclared)
}

// null is not sent as a Go value either.
func TestNullIsNotSent(t *testing.T) {
	t.Parallel()
	lookUp := leveret.NewRequest[*question, []question]("seam.look-up")
	h := leveret.NewHandlers(leveret.NewService("seam", leveret.Answers(lookUp)), leveret.HandlersConfig{})
	lookUp.Answer(h, func(context.Context, *question) ([]question, error) { return nil, nil })
	_, err := lookUp.Call(t.Context(), typedCaller[*question, []question]{lookUp, h}, nil)
	require.ErrorIs(t, err, leveret.InvalidArgument)
	require.ErrorContains(t, err, "nil")
	_, err = lookUp.Process(t.Context(), h, &leveret.Message{}, &question{1})
	require.ErrorIs(t, err, leveret.Internal)
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
}

// What a problem says beside its code comes back on the other side.
func TestProblemKeepsFieldsAndDelay(t *testing.T) {
	t.Parallel()
	err := leveret.DecodeProblem(leveret.EncodeProblem(fmt.Errorf("x: %w", question{-1}.Validate())))
	var e *leveret.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, []leveret.FieldViolation{{Field: "n", Detail: "must not be negative"}}, e.Fields)
	require.Zero(t, leveret.RetryDelay(err))

	_, err = double.Decode([]byte(`{"n":"x"}`))
	require.ErrorAs(t, err, &e)
	require.Equal(t, "n", e.Fields[0].Field)

	err = leveret.DecodeProblem(leveret.EncodeProblem(leveret.RetryAfter(1500*time.Millisecond, nil)))
	require.ErrorIs(t, err, leveret.Unavailable)
	require.Equal(t, 1500*time.Millisecond, leveret.RetryDelay(err))
	require.Zero(t, leveret.RetryDelay(leveret.DecodeProblem([]byte(`{"code":"internal","retry_after_ms":-5,"errors":7}`))))

	many := &leveret.Error{Code: leveret.InvalidArgument, Fields: make([]leveret.FieldViolation, 1000)}
	require.ErrorAs(t, leveret.DecodeProblem(leveret.EncodeProblem(many)), &e)
	require.Len(t, e.Fields, 100)
}

func TestSecretIsNotShown(t *testing.T) {
	t.Parallel()
	type login struct {
		User     string         `json:"user"`
		Password leveret.Secret `json:"password"`
	}
	l := login{"u", "hunter2"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "login", l, "secret", l.Password)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", l.Password)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb, l)
		fmt.Fprintf(&log, verb, &l)
		fmt.Fprintf(&log, verb, l.Password)
	}
	require.NotContains(t, log.String(), "hunter2")
	require.NotContains(t, log.String(), fmt.Sprintf("%x", "hunter2"))

	_, err := leveret.NewRequest[login, login]("seam.log-in").Decode([]byte(`{"password":31337}`))
	require.ErrorContains(t, err, "password")
	require.NotContains(t, err.Error(), "31337")
}

func TestHTTPIsForRequests(t *testing.T) {
	t.Parallel()
	require.Equal(t, "POST /seam.double", double.Spec().HTTP)
	require.Equal(t, "GET /x/{n}", leveret.NewRequest[question, question]("seam.x", leveret.HTTP("GET /x/{n}")).Spec().HTTP)
	wrong := leveret.NewCommand[question]("seam.y", leveret.HTTP("POST /x"))
	require.ErrorContains(t, leveret.NewCatalog(leveret.NewService("seam", leveret.Handles(wrong))).Err(), "HTTP is for requests")
}
