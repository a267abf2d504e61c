package httprpc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// serveOn serves a handler until the test ends, and returns its address.
func serveOn(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func callerTo(t *testing.T, service *leveret.Service, config httprpc.CallerConfig) *httprpc.Caller {
	t.Helper()
	config.Service = service
	c, err := httprpc.NewCaller(config)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestCallerKeepsItsContract(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "h2c": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite := leverettest.NewSuite()
			h, err := httprpc.NewServer(suite.Handlers(), httprpc.ServerConfig{})
			require.NoError(t, err)
			s := serveOn(t, h)
			c := callerTo(t, suite.Client(), httprpc.CallerConfig{URLs: []string{s.URL}, HTTP2: http2})
			suite.TestCaller(t, leverettest.CallerCase{Caller: c, Disconnect: func() {
				_ = s.Listener.Close()
				s.CloseClientConnections()
				c.Close() // those that are idle may not have noticed yet
			}})
		})
	}
}

// The shelf is a service with requests of all shapes.
type book struct {
	Shelf  int      `json:"shelf"`
	Title  string   `json:"title"`
	Tags   []string `json:"tags,omitempty"`
	Signed *bool    `json:"signed,omitempty"`
	Weight float64  `json:"weight,omitempty"`
}

func (b book) Validate() error {
	if b.Shelf < 0 {
		return &leveret.Error{Code: leveret.InvalidArgument, Message: "shelf: must not be negative",
			Fields: []leveret.FieldViolation{{Field: "shelf", Detail: "must not be negative"}}}
	}
	return nil
}

type fail struct {
	Code   leveret.Code `json:"code"`
	Reason string       `json:"reason"`
	After  int          `json:"after"`
	Plain  bool         `json:"plain"`
}

var (
	addBook  = leveret.NewRequest[book, book]("shelf.add", leveret.HTTP("PUT /shelves/{shelf}/{title}"), leveret.Idempotent())
	findBook = leveret.NewRequest[book, book]("shelf.find", leveret.HTTP("GET /shelves/{shelf}/{title}"))
	move     = leveret.NewRequest[book, book]("shelf.move", leveret.Timeout(10*time.Second))
	failing  = leveret.NewRequest[fail, book]("shelf.fail")
	waiting  = leveret.NewRequest[book, book]("shelf.wait", leveret.Timeout(time.Minute))

	shelf  = leveret.NewService("shelf", leveret.Answers(addBook, findBook, move, failing, waiting))
	reader = leveret.NewService("reader", leveret.Calls(addBook, findBook, move, failing, waiting))
)

// library is the shelf as it is served.
type library struct {
	url    string
	server *httptest.Server
	began  chan *leveret.Message // by shelf.wait, which waits for the end of its context
	ended  chan error
	seen   chan *leveret.Message // by all others
}

func newLibrary(t *testing.T, config httprpc.ServerConfig) *library {
	t.Helper()
	l := &library{began: make(chan *leveret.Message, 100), ended: make(chan error, 100), seen: make(chan *leveret.Message, 1000)}
	echo := func(ctx context.Context, b book) (book, error) {
		l.seen <- leveret.MessageFrom(ctx)
		return b, nil
	}
	h := leveret.NewHandlers(shelf, leveret.HandlersConfig{})
	addBook.Answer(h, echo)
	findBook.Answer(h, echo)
	move.Answer(h, echo)
	failing.Answer(h, func(_ context.Context, f fail) (book, error) {
		if f.Plain {
			return book{}, errors.New("no code")
		}
		err := error(&leveret.Error{Code: f.Code, Reason: f.Reason, Message: "as asked"})
		if f.After > 0 {
			err = leveret.RetryAfter(time.Duration(f.After)*time.Millisecond, err)
		}
		return book{}, err
	})
	waiting.Answer(h, func(ctx context.Context, _ book) (book, error) {
		l.began <- leveret.MessageFrom(ctx)
		<-ctx.Done()
		l.ended <- context.Cause(ctx)
		return book{}, ctx.Err()
	})
	config.Instance = "here"
	s, err := httprpc.NewServer(h, config)
	require.NoError(t, err)
	l.server = serveOn(t, s)
	l.url = l.server.URL
	return l
}

// do makes a plain request, as a foreign client does.
func (l *library) do(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, l.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := l.server.Client().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(content)
}

func TestParametersFillThePayload(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, httprpc.ServerConfig{})
	for _, tc := range []struct{ method, path, body, want string }{
		{"GET", "/shelves/7/Emma", "", `{"shelf":7,"title":"Emma"}`},
		{"GET", "/shelves/7/a%2Fb%20%C3%A9?tags=x&tags=y&signed=true&weight=1.5", "", `{"shelf":7,"title":"a/b é","tags":["x","y"],"signed":true,"weight":1.5}`},
		{"PUT", "/shelves/7/Emma", `{"tags":["z"]}`, `{"shelf":7,"title":"Emma","tags":["z"]}`},
		{"PUT", "/shelves/7/Emma", `{"title":"Emma","SHELF":7}`, `{"shelf":7,"title":"Emma"}`},
		{"PUT", "/shelves/7/Emma", "", `{"shelf":7,"title":"Emma"}`},
		{"POST", "/shelf.move", `{"shelf":1,"title":"x","newer":true}`, `{"shelf":1,"title":"x"}`},
		{"POST", "/shelf.move?title=y", `{"shelf":1}`, `{"shelf":1,"title":"y"}`},
	} {
		answer, content := l.do(t, tc.method, tc.path, tc.body)
		require.Equal(t, 200, answer.StatusCode, "%s: %s", tc.path, content)
		require.JSONEq(t, tc.want, content, tc.path)
		require.Equal(t, "application/json", answer.Header.Get("Content-Type"))
		require.Equal(t, "shelf@here", answer.Header.Get(rpc.AnsweredBy))
		require.NotEmpty(t, answer.Header.Get(rpc.Conversation))
	}
	for _, tc := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/shelves/seven/Emma", "", 400, "shelf: must be an integer"},
		{"GET", "/shelves/007/Emma", "", 400, "shelf: must be an integer"},
		{"GET", "/shelves/99999999999999999999/Emma", "", 400, "shelf: must be an integer"},
		{"GET", "/shelves/7/Emma?colour=red", "", 400, "colour: is no parameter"},
		{"GET", "/shelves/7/Emma?signed=yes", "", 400, "signed: must be true or false"},
		{"GET", "/shelves/7/Emma?weight=1&weight=2", "", 400, "weight: is given 2 times"},
		{"GET", "/shelves/7/Emma?weight=Inf", "", 400, "weight: must be a number"},
		{"GET", "/shelves/7/Emma?shelf=8", "", 400, "shelf: is given twice"},
		{"GET", "/shelves/-1/Emma", "", 400, "shelf: must not be negative"},
		{"PUT", "/shelves/7/Emma", `{"shelf":8}`, 400, "shelf: is given twice"},
		{"PUT", "/shelves/7/Emma", `[]`, 400, "the body is not a JSON object"},
		{"PUT", "/shelves/7/Emma", `null`, 400, "the body is not a JSON object"},
		{"POST", "/shelf.move", `{"shelf":`, 400, "the body is not JSON"},
		{"POST", "/shelf.move", ``, 400, "the body is empty"},
		{"POST", "/shelf.move", `{"shelf":1,"title":7}`, 400, "title: must be a JSON string"},
		{"POST", "/shelf.move", `{"title":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "the limit is 1048576 bytes"},
		{"GET", "/nowhere", "", 404, "there is nothing at this path"},
		{"DELETE", "/shelf.move", "", 405, "this path takes POST, not DELETE"},
	} {
		answer, content := l.do(t, tc.method, tc.path, tc.body)
		require.Equal(t, tc.status, answer.StatusCode, "%s %s: %s", tc.path, tc.body[:min(len(tc.body), 50)], content)
		require.Equal(t, "application/problem+json", answer.Header.Get("Content-Type"))
		require.Contains(t, content, tc.says, tc.path)
		require.Contains(t, content, fmt.Sprintf(`"status":%d`, tc.status))
	}
	answer, content := l.do(t, "POST", "/shelf.move", `{"shelf":1}`, "Content-Type", "text/plain")
	require.Equal(t, 415, answer.StatusCode, content)
}

func TestStrictRefusesUnknownFields(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, httprpc.ServerConfig{Strict: true})
	answer, content := l.do(t, "POST", "/shelf.move", `{"shelf":1,"title":"x","newer":true}`)
	require.Equal(t, 400, answer.StatusCode)
	require.Contains(t, content, `"errors":[{"field":"newer","detail":"is no field of this request"}]`)
	answer, content = l.do(t, "POST", "/shelf.move", `{"shelf":1,"title":"x"}`)
	require.Equal(t, 200, answer.StatusCode, content)
}

// Every error is the same on the other side, and has the status of its code.
func TestErrorsSurvive(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, httprpc.ServerConfig{})
	c := callerTo(t, reader, httprpc.CallerConfig{URLs: []string{l.url}})
	for code := leveret.Canceled; code <= leveret.Unauthenticated; code++ {
		for _, reason := range []string{"", "card_declined", leveret.ReasonOutcomeUnknown} {
			for _, after := range []int{0, 1500} {
				want := &leveret.Error{Code: code, Reason: reason}
				_, err := failing.Call(t.Context(), c, fail{Code: code, Reason: reason, After: after})
				require.ErrorIs(t, err, code)
				require.True(t, leveret.IsRemote(err))
				if reason != "" && after == 0 {
					require.ErrorIs(t, err, want)
				}
				unknown := reason == leveret.ReasonOutcomeUnknown
				require.Equal(t, unknown, errors.Is(err, leveret.ErrOutcomeUnknown))
				require.Equal(t, time.Duration(after)*time.Millisecond, leveret.RetryDelay(err))

				body, _ := json.Marshal(fail{Code: code, Reason: reason, After: after})
				answer, content := l.do(t, "POST", "/shelf.fail", string(body))
				status := code.HTTPStatus()
				if unknown {
					status = 504
				}
				require.Equal(t, status, answer.StatusCode)
				require.Contains(t, content, `"code":"`+code.String()+`"`)
				switch {
				case after > 0:
					require.Equal(t, "2", answer.Header.Get("Retry-After"))
				case status == 503 || status == 429:
					require.Equal(t, "1", answer.Header.Get("Retry-After"))
				default:
					require.Empty(t, answer.Header.Get("Retry-After"))
				}
			}
		}
	}
	_, err := failing.Call(t.Context(), c, fail{Plain: true})
	require.ErrorIs(t, err, leveret.Unknown)
	_, err = addBook.Call(t.Context(), c, book{Shelf: 1, Title: ".."})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	require.False(t, leveret.IsRemote(err))
}

// The message that a handler sees is the caller's.
func TestMetadataTravels(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, httprpc.ServerConfig{})
	c := callerTo(t, reader, httprpc.CallerConfig{URLs: []string{l.url}})
	for _, id := range []string{"7", `a "quoted" \ key`, "ключ – 🐇", strings.Repeat("x", 250), "a,b;c", "%25", "tab\tand\nline"} {
		m, err := move.Message(t.Context(), book{Title: "x"}, leveret.MessageID(id), leveret.Conversation("talk "+id), leveret.Header("tenant", "blau é"))
		require.NoError(t, err)
		require.NoError(t, c.Call(t.Context(), m))
		got := <-l.seen
		require.Equal(t, id, got.ID)
		require.Equal(t, "talk "+id, got.ConversationID)
		require.Equal(t, "reader", got.AppID)
		require.Equal(t, "blau é", got.Headers["tenant"])
		require.WithinDuration(t, m.SentAt, got.SentAt, 0)
		require.WithinDuration(t, m.Deadline, got.Deadline, 5*time.Second)
		require.Equal(t, "shelf@here", m.AnsweredBy)
	}
	_, err := move.Call(t.Context(), c, book{}, leveret.MessageID(strings.Repeat("x", 256)))
	require.ErrorIs(t, err, leveret.InvalidArgument)
	answer, content := l.do(t, "POST", "/shelf.move", `{}`, rpc.IdempotencyKey, `"unclosed`)
	require.Equal(t, 400, answer.StatusCode, content)
	answer, content = l.do(t, "POST", "/shelf.move", `{}`, rpc.Timeout, `-5`)
	require.Equal(t, 400, answer.StatusCode, content)
	_, _ = l.do(t, "POST", "/shelf.move", `{}`, rpc.Timeout, `999999999`)
	got := <-l.seen
	require.LessOrEqual(t, time.Until(got.Deadline), 10*time.Second, "the contract's timeout is the most")
	require.NotEmpty(t, got.ID, "a request without a key gets an id")

	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	_, _ = l.do(t, "POST", "/shelf.move", `{}`, "traceparent", trace)
	require.Equal(t, trace, (<-l.seen).Headers["traceparent"])
}

// A client that hangs up ends the handler's context, over a bare connection, too.
func TestHangingUpCancelsTheHandler(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, httprpc.ServerConfig{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	require.NoError(t, err)
	fmt.Fprintf(conn, "POST /shelf.wait HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	<-l.began
	require.NoError(t, conn.Close())
	require.ErrorIs(t, <-l.ended, context.Canceled)
}

// What is lost between the effect and the answer is unknown; what never left is not.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	var hits = make(chan string, 100)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { // takes a request, and hangs up
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(hits)
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				hits <- r.Header.Get(rpc.IdempotencyKey)
			}
			_ = conn.Close()
		}
	}()
	c := callerTo(t, reader, httprpc.CallerConfig{URLs: []string{"http://" + listener.Addr().String()}})
	_, err = move.Call(t.Context(), c, book{}, leveret.MessageID("once"))
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.ErrorIs(t, err, leveret.Unavailable)
	require.False(t, leveret.IsRemote(err))

	// An idempotent request is made again under the same key, as long as its context lives.
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := addBook.Call(ctx, c, book{Shelf: 1, Title: "x"}, leveret.MessageID("often"))
		result <- err
	}()
	require.Equal(t, "once", <-hits)
	for range 3 {
		require.Equal(t, "often", <-hits)
	}
	cancel()
	err = <-result
	require.ErrorIs(t, err, leveret.Canceled)
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)

	require.NoError(t, listener.Close())
	for range hits { //nolint:revive // until it is closed
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = move.Call(ctx, c, book{})
	require.ErrorIs(t, err, leveret.DeadlineExceeded)
	require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
}

// Calls go round, and past an address that cannot be reached.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	a, b := newLibrary(t, httprpc.ServerConfig{}), newLibrary(t, httprpc.ServerConfig{})
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	c := callerTo(t, reader, httprpc.CallerConfig{URLs: []string{a.url, "http://" + gone.Addr().String(), b.url}})
	for range 10 {
		_, err := move.Call(t.Context(), c, book{})
		require.NoError(t, err)
	}
	require.Equal(t, 10, len(a.seen)+len(b.seen))
	require.GreaterOrEqual(t, len(a.seen), 3)
	require.GreaterOrEqual(t, len(b.seen), 3)
}

func TestWhatIsNoProblem(t *testing.T) {
	t.Parallel()
	status := make(chan int, 1)
	s := serveOn(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>proxy</html>", <-status)
	}))
	c := callerTo(t, reader, httprpc.CallerConfig{URLs: []string{s.URL}})
	for code, want := range map[int]leveret.Code{
		301: leveret.Unknown, 400: leveret.InvalidArgument, 401: leveret.Unauthenticated, 403: leveret.PermissionDenied, 404: leveret.Unimplemented,
		409: leveret.Aborted, 429: leveret.ResourceExhausted, 500: leveret.Unknown, 502: leveret.Unavailable, 503: leveret.Unavailable,
		504: leveret.DeadlineExceeded,
	} {
		status <- code
		_, err := move.Call(t.Context(), c, book{})
		require.ErrorIs(t, err, want, code)
		require.True(t, leveret.IsRemote(err))
		require.Equal(t, code == 500 || code == 502 || code == 504, errors.Is(err, leveret.ErrOutcomeUnknown), code)
	}
}

func TestMistakesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	odd := leveret.NewRequest[book, book]("shelf.odd", leveret.HTTP("FETCH books"))
	lost := leveret.NewRequest[book, book]("shelf.lost", leveret.HTTP("GET /{tags}/{isbn}"))
	service := leveret.NewService("shelf", leveret.Answers(odd, lost, move))
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	_, err := httprpc.NewServer(h, httprpc.ServerConfig{})
	require.ErrorIs(t, err, leveret.ErrUndeclared)
	for _, r := range []*leveret.Request[book, book]{odd, lost, move} {
		r.Answer(h, func(_ context.Context, b book) (book, error) { return b, nil })
	}
	_, err = httprpc.NewServer(h, httprpc.ServerConfig{Routes: []httprpc.Route{
		{}, {Contract: findBook}, {Contract: move, Location: "/x/{isbn}", Status: 302},
	}})
	for _, says := range []string{
		`shelf.odd: "FETCH books" is no pattern`, `shelf.lost: "GET /{tags}/{isbn}"`, `Routes[0] has no Contract`,
		"Routes has shelf.find, which the service", "Status is 302",
	} {
		require.ErrorContains(t, err, says)
	}
	_, err = httprpc.NewServer(h, httprpc.ServerConfig{Routes: []httprpc.Route{
		{Contract: odd, Pattern: "GET /a/{title}"}, {Contract: lost, Pattern: "GET /a/{title}"}, {Contract: move, Location: "/x/{isbn}"},
	}})
	require.ErrorContains(t, err, "Location")
	_, err = httprpc.NewCaller(httprpc.CallerConfig{Service: reader, URLs: []string{"payment:80", "http://x?y"}})
	require.ErrorContains(t, err, `"payment:80"`)
	require.ErrorContains(t, err, `"http://x?y"`)
	_, err = httprpc.NewCaller(httprpc.CallerConfig{})
	require.ErrorContains(t, err, "Service is required")
}
