package leveret_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// handling is a command and the service that handles it.
type handling struct {
	*bench
	do      *leveret.Command[thing]
	service *leveret.Service
}

func setupHandling(t *testing.T, options ...leveret.ContractOption) *handling {
	t.Helper()
	do := leveret.NewCommand[thing]("a.do", options...)
	return &handling{setup(t), do, leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))}
}

func (h *handling) handle(config leveret.WorkerConfig, f func(context.Context, thing) error, handlers ...leveret.HandlersConfig) *running {
	h.t.Helper()
	w := h.worker(h.connect(leveret.ConnConfig{Instance: "here/1"}), h.service, config, handlers...)
	h.do.Handle(w.Handlers, f)
	return h.run(w)
}

func (h *handling) send(values ...thing) {
	h.t.Helper()
	client := h.sender(leveret.Sends(h.do))
	for _, v := range values {
		require.NoError(h.t, h.do.Send(h.ctx, client, v))
	}
}

// ours are the headers of a delivery but for the broker's.
func ours(d amqp.Delivery) amqp.Table {
	h := maps.Clone(d.Headers)
	maps.DeleteFunc(h, func(name string, _ any) bool { return strings.HasPrefix(name, "x-") })
	return h
}

// TestRetriesAndDeadLetter follows one message through its attempts into the dead letters.
func TestRetriesAndDeadLetter(t *testing.T) {
	t.Parallel()
	h := setupHandling(t, leveret.Retry(leveret.RetryPolicy{Attempts: 3, Delays: []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}}))
	type attempt struct {
		at time.Time
		*leveret.Message
	}
	attempts := make(chan attempt, 9)
	h.handle(leveret.WorkerConfig{}, func(ctx context.Context, _ thing) error {
		attempts <- attempt{time.Now(), leveret.MessageFrom(ctx)}
		return leveret.NewError(leveret.Unavailable, "no_power", "the lights went out "+strings.Repeat("ü", 3000))
	})
	foreign := h.peer()
	const body = " {\"n\" : 1,\t\"later\":\"unknown fields are fine\"}\n"
	sent := amqp.Publishing{
		ContentType: "application/vnd.example+json; charset=utf-8", ContentEncoding: "identity", Priority: 3, CorrelationId: "talk", ReplyTo: "nobody",
		MessageId: strings.Repeat("i", 255), Timestamp: time.Unix(1_700_000_000, 0), Type: "their.type", AppId: "theirs", Body: []byte(body),
		DeliveryMode: amqp.Persistent, Expiration: "60000",
		Headers: amqp.Table{
			"mine": "kept", "number": int32(7), "CC": []any{}, "x-death": []any{amqp.Table{"count": int64(99)}}, "x-first-death-queue": "q",
			"x-last-death-queue": "q", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "leveret-error-reason": "of before",
		},
	}
	began := time.Now()
	foreign.publish("commands", "a.do", sent)

	var before attempt
	for i, wait := range []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond} {
		a := receive(t, attempts)
		require.Equal(t, i+1, a.Attempt)
		require.Equal(t, sent.MessageId, a.ID)
		require.Equal(t, body, string(a.Body), "byte for byte")
		require.Equal(t, "talk", a.ConversationID)
		if i > 0 {
			require.GreaterOrEqual(t, a.at.Sub(before.at), wait)
		}
		before = a
	}
	d := foreign.take("a.do.dlq")
	require.Equal(t, body, string(d.Body))
	require.Equal(t, sent.MessageId, d.MessageId)
	require.Equal(t, sent.ContentType, d.ContentType)
	require.Equal(t, sent.ContentEncoding, d.ContentEncoding)
	require.Equal(t, "talk", d.CorrelationId)
	require.Equal(t, "nobody", d.ReplyTo)
	require.Equal(t, "their.type", d.Type)
	require.Equal(t, "theirs", d.AppId)
	require.Equal(t, sent.Timestamp.Unix(), d.Timestamp.Unix())
	require.Equal(t, amqp.Persistent, d.DeliveryMode)
	require.Empty(t, d.Expiration, "dead letters do not expire")
	require.NotContains(t, d.Headers, "x-death")
	require.NotContains(t, d.Headers, "CC")

	headers := ours(d)
	for _, name := range []string{"leveret-first-failed-at", "leveret-failed-at"} {
		at, err := time.Parse(time.RFC3339Nano, headers[name].(string))
		require.NoError(t, err)
		require.WithinRange(t, at, began, time.Now(), name)
		began = at
		delete(headers, name)
	}
	message := headers["leveret-error-message"].(string)
	require.LessOrEqual(t, len(message), 2<<10)
	require.True(t, strings.HasPrefix(message, "the lights went out ü") && strings.HasSuffix(message, "ü…"))
	delete(headers, "leveret-error-message")
	require.Equal(t, amqp.Table{
		"mine": "kept", "number": int32(7), "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"leveret-failed-queue": "a.do", "leveret-attempts": int64(3), "leveret-error-code": "unavailable", "leveret-error-reason": "no_power",
		"leveret-service": "a", "leveret-host": "here/1",
	}, headers)
	require.Zero(t, foreign.count("a.do"))
}

// TestDeadLetteredAtOnce: no retry, no stale reason, and a stack only where it is asked for.
func TestDeadLetteredAtOnce(t *testing.T) {
	t.Parallel()
	for name, stacks := range map[string]bool{"without stacks": false, "with stacks": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupHandling(t, leveret.Retry(leveret.RetryPolicy{Attempts: 1}))
			h.handle(leveret.WorkerConfig{Stacks: stacks}, func(_ context.Context, v thing) error {
				if v.N == 1 {
					panic("the reason")
				}
				return leveret.Errorf(leveret.NotFound, "no %d", v.N)
			})
			foreign := h.peer()
			h.send(thing{N: 1})
			d := foreign.take("a.do.dlq")
			require.Equal(t, "internal", d.Headers["leveret-error-code"])
			require.Equal(t, "panic: the reason", d.Headers["leveret-error-message"])
			require.Equal(t, int64(1), d.Headers["leveret-attempts"])
			stack, _ := d.Headers["leveret-stack"].(string)
			require.Equal(t, stacks, strings.Contains(stack, "failing_test.go"), stack)
			require.LessOrEqual(t, len(stack), 8<<10)

			foreign.publish("commands", "a.do", amqp.Publishing{Body: []byte(`{"n":2}`), Headers: amqp.Table{
				"leveret-error-reason": "of before", "leveret-stack": "of before", "leveret-attempt": int64(1),
			}})
			d = foreign.take("a.do.dlq")
			require.Equal(t, "not_found", d.Headers["leveret-error-code"])
			require.Equal(t, "no 2", d.Headers["leveret-error-message"])
			for _, stale := range []string{"leveret-error-reason", "leveret-stack", "leveret-attempt"} {
				require.NotContains(t, d.Headers, stale)
			}
		})
	}
}

// TestVerdictsOfHandlers: the other things that an error can say.
func TestVerdictsOfHandlers(t *testing.T) {
	t.Parallel()
	h := setupHandling(t, leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{50 * time.Millisecond, 400 * time.Millisecond}}), leveret.RetryOn(leveret.NotFound))
	meter := newMeter()
	type attempt struct {
		n, attempt int
		at         time.Time
	}
	attempts := make(chan attempt, 99)
	w := h.worker(h.connect(leveret.ConnConfig{MeterProvider: meter.provider}), h.service, leveret.WorkerConfig{})
	h.do.Handle(w.Handlers, func(ctx context.Context, v thing) error {
		m := leveret.MessageFrom(ctx)
		attempts <- attempt{v.N, m.Attempt, time.Now()}
		switch {
		case v.N == 1:
			return leveret.Discard(errors.New("of no use"))
		case m.Attempt == 2:
			return nil
		case v.N == 2:
			return leveret.Errorf(leveret.NotFound, "early, not wrong")
		case v.N == 3:
			return leveret.RetryAfter(51*time.Millisecond, leveret.Errorf(leveret.InvalidArgument, "later"))
		default:
			return leveret.RetryAfter(500*time.Millisecond, nil)
		}
	})
	h.run(w)
	h.send(thing{N: 1}, thing{N: 2}, thing{N: 3}, thing{N: 4})
	first, second := map[int]time.Time{}, map[int]time.Time{}
	for range 7 {
		a := receive(t, attempts)
		map[int]map[int]time.Time{1: first, 2: second}[a.attempt][a.n] = a.at
	}
	require.Equal(t, []int{2, 3, 4}, slices.Sorted(maps.Keys(second)), "the first was discarded")
	require.GreaterOrEqual(t, second[3].Sub(first[3]), 400*time.Millisecond, "on the tier nearest from above")
	require.GreaterOrEqual(t, second[4].Sub(first[4]), 500*time.Millisecond, "or on the last, more than once")
	h.eventually(func() bool {
		return maps.Equal(meter.by(t, "leveret.verdicts", "leveret.verdict"), map[string]int64{"ack": 3, "retry": 3, "discard": 1})
	})
	require.Zero(t, h.peer().count("a.do.dlq"))
}

// badBodies are bodies that no attempt will make better, with what their dead letters say.
var badBodies = map[string]struct{ body, message string }{
	"empty":         {"", "the body is empty; it must be a JSON value"},
	"null":          {"null", "the body is null; it must be a JSON value"},
	"not JSON":      {"<do/>", "the body is not JSON: invalid character '<' looking for beginning of value (at byte 1)"},
	"cut off":       {`{"n":`, "the body is not JSON: unexpected end of JSON input (at byte 5)"},
	"trailing":      {`{"n":1}{"n":2}`, "the body is not JSON: invalid character '{' after top-level value (at byte 8)"},
	"a wrong type":  {`{"n":"one"}`, "n: must be a JSON integer (int), not a string"},
	"an array":      {`[1]`, "the body must be a JSON object, not an array"},
	"negative":      {`{"n":-1}`, "n: must not be negative"},
	"not UTF-8":     {"{\"text\":\"\xff\"}", "the body is not UTF-8 (at byte 9)"},
	"compressed":    {"\x1f\x8b\x08\x00", "the body is not UTF-8 (at byte 1)"},
	"nested":        {strings.Repeat("[", 100_000), "the body is not JSON: invalid character '[' exceeded max depth (at byte 10001)"},
	"out of range":  {`{"n":99999999999999999999}`, "n: must be a JSON integer (int), not a number 99999999999999999999"},
	"a NUL":         {"\x00", `the body is not JSON: invalid character '\x00' looking for beginning of value (at byte 1)`},
	"a long number": {`{"n":` + strings.Repeat("9", 100_000) + `}`, "n: must be a JSON integer (int), not a number 9999999999"},
}

// TestBadBodies: a dead letter with its reason at once where nobody asked, an error at once where somebody did; and the
// neighbours are unharmed.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	ask := leveret.NewRequest[thing, answer]("b.ask", leveret.Timeout(patience))
	var handled atomic.Int64
	h.handle(leveret.WorkerConfig{}, func(context.Context, thing) error { handled.Add(1); return nil })
	w := h.worker(h.connect(leveret.ConnConfig{}), leveret.NewService("b", leveret.Answers(ask)), leveret.WorkerConfig{})
	ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{N: 1}, nil })
	h.run(w)
	foreign := h.peer()
	for _, bad := range badBodies {
		foreign.publish("commands", "a.do", amqp.Publishing{Body: []byte(`{"n":1}`)})
		foreign.publish("commands", "a.do", amqp.Publishing{MessageId: bad.message[:min(len(bad.message), 200)], Body: []byte(bad.body)})
		fault := foreign.ask("b.ask", amqp.Publishing{CorrelationId: "c", Body: []byte(bad.body)})
		require.Equal(t, "application/problem+json", fault.ContentType)
		require.Contains(t, string(fault.Body), `"code":"invalid_argument"`)
	}
	for range badBodies {
		d := foreign.take("a.do.dlq")
		require.Equal(t, "invalid_argument", d.Headers["leveret-error-code"])
		require.True(t, strings.HasPrefix(d.Headers["leveret-error-message"].(string), d.MessageId), "%v: %s", d.Headers["leveret-error-message"], d.MessageId)
		require.Equal(t, int64(1), d.Headers["leveret-attempts"])
	}
	h.eventually(func() bool { return handled.Load() == int64(len(badBodies)) }, "the neighbours")
	require.JSONEq(t, `{"n":1}`, string(foreign.ask("b.ask", amqp.Publishing{Body: []byte(`{"n":1}`)}).Body))
}

// TestLargeBodies: RabbitMQ 3.10 takes 20 MiB, which are handled, or dead-lettered in full; 4 refuses them to their
// sender.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	sizes := make(chan int, 9)
	h.handle(leveret.WorkerConfig{}, func(_ context.Context, v thing) error {
		if v.N == 2 {
			return leveret.Errorf(leveret.InvalidArgument, "too much of a good thing")
		}
		sizes <- len(v.Text)
		return nil
	})
	foreign := h.peer()
	for _, n := range []string{"1", "2"} {
		body := []byte(`{"n":` + n + `,"text":"` + strings.Repeat("x", 20<<20) + `"}`)
		confirm, err := foreign.PublishWithDeferredConfirm("commands", "a.do", true, false, amqp.Publishing{Body: body, DeliveryMode: amqp.Persistent})
		require.NoError(t, err)
		acked, err := confirm.WaitContext(t.Context())
		require.NoError(t, err)
		if !acked { // the broker has closed the foreign channel; nobody else has noticed
			require.False(t, strings.HasPrefix(version(h.bench), "3."), "3.10 takes 128 MiB")
			h.send(thing{N: 1, Text: "x"})
			require.Equal(t, 1, receive(t, sizes))
			return
		}
	}
	require.Equal(t, 20<<20, receive(t, sizes))
	require.Greater(t, len(foreign.take("a.do.dlq").Body), 20<<20)
}

func version(b *bench) string {
	v, _ := b.peer().conn.Properties["version"].(string)
	return v
}

// TestHostileHeaders: whatever the headers hold, the message is handled, and when it fails it is put aside.
func TestHostileHeaders(t *testing.T) {
	t.Parallel()
	deep := func(n int, array bool) any {
		var v any = "end"
		for range n {
			if array {
				v = []any{v}
			} else {
				v = amqp.Table{"d": v}
			}
		}
		return v
	}
	many := amqp.Table{}
	for i := range 3000 {
		many["n"+strings.Repeat("x", i%10)+time.Duration(i).String()] = int64(i)
	}
	voids := make([]any, 9000)
	tables := map[string]amqp.Table{
		"none":          nil,
		"every type":    {"t": true, "b": byte(1), "i8": int8(-1), "i16": int16(-1), "i32": int32(-1), "i64": int64(-1), "u16": uint16(1), "u32": uint32(1), "f": float32(1), "d": 2.5, "dec": amqp.Decimal{Scale: 2, Value: 199}, "s": "x", "x": []byte{0, 255}, "T": time.Unix(1, 0), "V": nil, "F": amqp.Table{"k": "v"}, "A": []any{int64(1), "x", nil, amqp.Table{}}},
		"100 deep":      {"d": deep(100, false)},
		"100 arrays":    {"d": deep(100, true)},
		"32 deep":       {"d": deep(32, false)},
		"a long string": {"s": strings.Repeat("s", 64<<10)},
		"120 KiB":       {"s": strings.Repeat("s", 120<<10)},
		"many":          many,
		"voids":         {"v": voids},
		"long names":    {strings.Repeat("n", 255): "v", "": "no name at all"},
		"not UTF-8":     {"\xff\xfe": "\xff\xfe"},
		"wrong types": {
			"leveret-attempt": amqp.Table{"x": int64(1)}, "leveret-conversation-id": int64(7), "leveret-causation-id": []any{"x"}, "leveret-sent-at": true,
			"leveret-deadline": 2.5, "leveret-first-failed-at": "yesterday", "traceparent": int64(1), "tracestate": []byte{255}, "baggage": deep(3, false),
		},
		"attempt -1":        {"leveret-attempt": int64(-1)},
		"attempt 0":         {"leveret-attempt": int32(0)},
		"attempt of a text": {"leveret-attempt": "two"},
		"a bad trace":       {"traceparent": "00-00000000000000000000000000000000-0000000000000000-00", "baggage": strings.Repeat("k=v,", 5000), "tracestate": strings.Repeat("x", 2000)},
		"a long talk":       {"leveret-conversation-id": strings.Repeat("c", 60<<10)},
		"the broker's own":  {"x-death": "not an array", "x-delivery-count": "many", "CC": []any{"a.do.dlq.nowhere"}, "BCC": []any{"nowhere"}},
		"times":             {"T": time.Unix(1<<40, 0), "t": time.Unix(-1, 0)},
	}
	h := setupHandling(t, leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{20 * time.Millisecond}}))
	follow := leveret.NewEvent[thing]("a.followed")
	h.service = leveret.NewService("a", leveret.Handles(h.do), leveret.Publishes(follow))
	conn := h.connect(leveret.ConnConfig{})
	client := h.client(conn, h.service, leveret.ClientConfig{})
	w := h.worker(conn, h.service, leveret.WorkerConfig{})
	handled := make(chan *leveret.Message, 1000)
	h.do.Handle(w.Handlers, func(ctx context.Context, v thing) error {
		handled <- leveret.MessageFrom(ctx)
		if err := follow.Publish(ctx, client, v); err != nil { // what came in is inherited
			return leveret.Discard(err)
		}
		return errors.New("no")
	})
	h.run(w)
	foreign := h.peer()
	for name, headers := range tables {
		foreign.publish("commands", "a.do", amqp.Publishing{MessageId: name, Headers: headers, Body: []byte(`{"n":1}`), DeliveryMode: amqp.Persistent})
	}
	attempts := map[string]int{}
	for range 2 * len(tables) {
		attempts[receive(t, handled).ID]++
	}
	dropped := map[string]string{}
	for range tables {
		d := foreign.take("a.do.dlq")
		require.Equal(t, "unknown", d.Headers["leveret-error-code"], d.MessageId)
		require.Equal(t, int64(2), d.Headers["leveret-attempts"], d.MessageId)
		require.NotContains(t, d.Headers, "x-death", d.MessageId)
		require.Equal(t, 2, attempts[d.MessageId], "no attempt was made in vain: %s", d.MessageId)
		if why, ok := d.Headers["leveret-headers-dropped"].(string); ok {
			dropped[d.MessageId] = why
		}
		if d.MessageId == "every type" {
			for name, value := range tables[d.MessageId] {
				require.EqualValues(t, value, d.Headers[name], name)
			}
		}
	}
	const unreadable = "nested deeper than 32, or of more than 8192 entries"
	require.Equal(t, map[string]string{
		"100 deep": unreadable, "100 arrays": unreadable, "many": "larger than 64 KiB", "voids": unreadable, "120 KiB": "larger than 64 KiB", "a long string": "larger than 64 KiB",
	}, dropped)
	require.Zero(t, foreign.count("a.do"))
}

// TestHugeAttempt: a message with an attempt of a million is not retried.
func TestHugeAttempt(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	h.handle(leveret.WorkerConfig{}, func(context.Context, thing) error { return errors.New("no") })
	foreign := h.peer()
	for _, attempt := range []any{int64(1) << 62, "99999999999999999999"} {
		foreign.publish("commands", "a.do", amqp.Publishing{Headers: amqp.Table{"leveret-attempt": attempt}, Body: []byte(`{"n":1}`)})
		require.Equal(t, int64(1_000_000), foreign.take("a.do.dlq").Headers["leveret-attempts"])
	}
}
