package httprpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// What a caller takes out of a payload, the server puts together again.
func TestParametersTravel(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	under := http.NewServeMux()
	h, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{Instance: "ü/1"})
	require.NoError(t, err)
	under.Handle("/api/v1/", http.StripPrefix("/api/v1", h))
	for _, base := range []string{serve(t, h).URL, serve(t, under).URL + "/api/v1/"} {
		caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{base}})
		yes, no := true, false
		for _, o := range []order{
			{OrderID: "7"},
			{OrderID: "a/b c?d#e%f&g=h+i;j\"ü", SKU: "<&>"},
			{OrderID: "."},
			{OrderID: "..", Gift: &no},
			{
				OrderID: "7", SKU: " ", Quantity: 3, Weight: 1e30, Gift: &yes, Tags: []string{"", "a&b", "null"}, Sizes: []int{-1, 0},
				PlacedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Customer: uuid.New(), Price: -5, paging: paging{Limit: 255, Cursor: "%"},
			},
		} {
			got, err := s.show.Call(t.Context(), caller, o)
			require.NoError(t, err)
			require.Equal(t, o, got)
		}
		_, err = s.show.Call(t.Context(), caller, order{})
		require.ErrorIs(t, err, leveret.InvalidArgument)
		require.ErrorContains(t, err, "order_id: must not be empty")
		require.False(t, leveret.IsRemote(err))

		_, err = s.show.Call(t.Context(), caller, order{OrderID: "/"})
		require.ErrorIs(t, err, leveret.InvalidArgument)

		for _, sku := range []string{"a b/../c", "a/", "a"} {
			got, err := s.file.Call(t.Context(), caller, order{SKU: sku})
			require.NoError(t, err)
			require.Equal(t, sku, got.SKU)
		}
		for _, sku := range []string{"/", "/a", "a//b"} {
			_, err := s.file.Call(t.Context(), caller, order{SKU: sku})
			require.ErrorIs(t, err, leveret.InvalidArgument)
			require.False(t, leveret.IsRemote(err))
		}

		c := cart{OrderID: "a/\"b", Lines: []line{{"x"}}, Token: "hunter2"}
		changed, err := s.change.Call(t.Context(), caller, c)
		require.NoError(t, err)
		require.Equal(t, c, changed)
		_, err = s.cancel.Call(t.Context(), caller, order{OrderID: "7", Tags: []string{"a"}})
		require.NoError(t, err)
		m, err := s.ping.Message(t.Context(), nothing{})
		require.NoError(t, err)
		require.NoError(t, caller.Call(t.Context(), m))
		require.Equal(t, "shop@ü/1", m.AnsweredBy)
		require.JSONEq(t, "{}", string(m.Reply))
	}
}

// A reply that does not fit is an error; whether it was handled is not known.
func TestRepliesThatDoNotFit(t *testing.T) {
	t.Parallel()
	replies := make(chan string, 1)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, <-replies)
	}))
	type counted struct {
		N   int64 `json:"n"`
		Any any   `json:"any"`
	}
	r := leveret.NewRequest[nothing, counted]("shop.count")
	caller := newCaller(t, httprpc.CallerConfig{Service: leveret.NewService("gateway", leveret.Calls(r)), URLs: []string{server.URL}})
	for _, reply := range []string{
		`null`, `[]`, `{"n":"1"}`, `{"n":1.5}`, `{"n":9223372036854775808}`, `{"n":1e999999}`, `{"n":1} {}`, `{"n":1`, "{\"any\":\"\xff\"}", "\x00",
		"\xff\xfe{\x00}\x00", `<html>`, strings.Repeat("[", 20_000),
	} {
		replies <- reply
		_, err := r.Call(t.Context(), caller, nothing{})
		require.ErrorIs(t, err, leveret.Internal, reply)
		require.ErrorIs(t, err, leveret.ErrOutcomeUnknown, reply)
		require.ErrorContains(t, err, "the reply to shop.count is not a httprpc_test.counted", reply)
		require.Less(t, len(err.Error()), 1_000)
	}
	replies <- "\ufeff" + `{"n":9223372036854775807,"any":[1541815603606036481,1e999999,-0]}`
	got, err := r.Call(t.Context(), caller, nothing{})
	require.NoError(t, err)
	require.Equal(t, counted{9223372036854775807, []any{json.Number("1541815603606036481"), json.Number("1e999999"), json.Number("-0")}}, got)
}

func TestIDsTravel(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	ids := make(chan string, 1)
	s.do = func(ctx context.Context) error { ids <- leveret.MessageFrom(ctx).ID; return nil }
	caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{s.server(t, httprpc.ServerConfig{}).URL}})
	for _, id := range []string{"7", `a "b" \c`, "café\n", " x ", strings.Repeat("é", 127) + "x", "%\"x\""} {
		_, err := s.ping.Call(t.Context(), caller, nothing{}, leveret.MessageID(id))
		require.NoError(t, err)
		require.Equal(t, id, <-ids)
	}
	for _, id := range []string{strings.Repeat("x", 256), "\xff"} {
		_, err := s.ping.Call(t.Context(), caller, nothing{}, leveret.MessageID(id))
		require.ErrorIs(t, err, leveret.InvalidArgument)
		require.False(t, leveret.IsRemote(err))
	}
}

func TestBalance(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	a, b := s.server(t, httprpc.ServerConfig{Instance: "a"}), s.server(t, httprpc.ServerConfig{Instance: "b"})
	caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{a.URL, b.URL}})
	count := func(calls int) map[string]int {
		by := make(map[string]int)
		for range calls {
			m, err := s.ping.Message(t.Context(), nothing{})
			require.NoError(t, err)
			require.NoError(t, caller.Call(t.Context(), m))
			by[m.AnsweredBy]++
		}
		return by
	}
	require.Equal(t, map[string]int{"shop@a": 10, "shop@b": 10}, count(20))
	a.Close()
	httprpc.CloseIdle(caller) // the caller learns of what a has closed a moment later
	require.Equal(t, map[string]int{"shop@b": 20}, count(20))
}

// foreign answers as no Leveret server does.
func foreign(t *testing.T, answer http.HandlerFunc) (*shop, *httprpc.Caller) {
	t.Helper()
	s := newShop(leveret.HandlersConfig{})
	return s, newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{serve(t, answer).URL}})
}

func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status             int
		contentType, body  string
		code               leveret.Code
		remote, unknown    bool
		header, headerText string
		delay              time.Duration
	}{
		"bad gateway":          {status: 502, contentType: "text/html", body: "<html>", code: leveret.Unavailable, unknown: true},
		"no backend":           {status: 503, contentType: "text/html", body: "<html>", code: leveret.Unavailable, unknown: true, header: "Retry-After", headerText: "7", delay: 7 * time.Second},
		"gateway timeout":      {status: 504, code: leveret.Unavailable, unknown: true},
		"a proxy's timeout":    {status: 524, contentType: "text/html", body: "<html>", code: leveret.Unknown, unknown: true},
		"a stranger's failure": {status: 500, contentType: "text/plain", body: "oops", code: leveret.Unknown, unknown: true},
		"a gateway's problem":  {status: 504, contentType: "application/problem+json", body: `{"title":"Gateway Timeout"}`, code: leveret.Unavailable, unknown: true},
		"not implemented":      {status: 501, code: leveret.Unimplemented},
		"not found":            {status: 404, contentType: "text/html", body: "<html>", code: leveret.Unimplemented},
		"no method":            {status: 405, code: leveret.Unimplemented},
		"bad request":          {status: 400, contentType: "text/plain", body: "400 Bad Request", code: leveret.Internal},
		"unauthorized":         {status: 401, code: leveret.Unauthenticated},
		"forbidden":            {status: 403, code: leveret.PermissionDenied},
		"too many":             {status: 429, code: leveret.ResourceExhausted, header: "Retry-After", headerText: "2", delay: 2 * time.Second},
		"too large":            {status: 413, code: leveret.InvalidArgument},
		"a redirect":           {status: 307, code: leveret.Unknown, header: "Location", headerText: "/elsewhere"},
		"a teapot":             {status: 418, code: leveret.Unknown},
		"a page":               {status: 200, contentType: "text/html", body: "<html>", code: leveret.Internal, unknown: true},
		"a problem":            {status: 504, contentType: "application/problem+json", body: `{"code":"unavailable","detail":"x"}`, code: leveret.Unavailable, remote: true},
		"a doubt":              {status: 504, contentType: "application/problem+json; charset=utf-8", body: `{"code":"internal","reason":"outcome_unknown"}`, code: leveret.Internal, remote: true, unknown: true},
		"a problem, no code":   {status: 403, contentType: "application/problem+json", body: `{"title":"no"}`, code: leveret.PermissionDenied, remote: true},
		"no problem after all": {status: 502, contentType: "application/problem+json", body: `<html>`, code: leveret.Unavailable, unknown: true},
		"a large problem":      {status: 400, contentType: "application/problem+json", body: `{"code":"not_found"}` + strings.Repeat(" ", 1<<20), code: leveret.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int64
			s, caller := foreign(t, func(w http.ResponseWriter, _ *http.Request) {
				tries.Add(1)
				w.Header().Set("Content-Type", c.contentType)
				if c.header != "" {
					w.Header().Set(c.header, c.headerText)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			_, err := s.place.Call(t.Context(), caller, cart{})
			require.ErrorIs(t, err, c.code)
			require.Equal(t, c.code, leveret.CodeOf(err))
			require.Equal(t, c.remote, leveret.IsRemote(err))
			require.Equal(t, c.unknown, errors.Is(err, leveret.ErrOutcomeUnknown), "%v", err)
			require.Equal(t, c.delay, leveret.RetryDelay(err))
			require.EqualValues(t, 1, tries.Load())
		})
	}
}

func TestLargeReply(t *testing.T) {
	t.Parallel()
	s, caller := foreign(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, io.LimitReader(spaces{}, 16<<20+1))
	})
	_, err := s.ping.Call(t.Context(), caller, nothing{})
	require.ErrorIs(t, err, leveret.ResourceExhausted)
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown, "it was handled")
	_, err = s.place.Call(t.Context(), caller, cart{OrderID: strings.Repeat("x", 16<<20)})
	require.ErrorIs(t, err, leveret.ErrTooLarge)
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// A server that dies between the effect and its answer leaves the outcome unknown, and an idempotent request is sent
// again.
func TestServerDies(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	h, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{})
	require.NoError(t, err)
	var handled atomic.Int64
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handled.Add(1) > 1 {
			h.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{server.URL}})
	_, err = s.place.Call(t.Context(), caller, cart{})
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.ErrorIs(t, err, leveret.Unavailable)
	require.NotErrorIs(t, err, leveret.ErrNotConnected)
	require.False(t, leveret.IsRemote(err))

	handled.Store(0)
	_, err = s.pay.Call(t.Context(), caller, cart{})
	require.NoError(t, err, "it is idempotent")
	require.EqualValues(t, 2, handled.Load())
}

// The same where the reply begins and is cut off.
func TestReplyIsCutOff(t *testing.T) {
	t.Parallel()
	s, caller := foreign(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	_, err := s.place.Call(t.Context(), caller, cart{})
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.ErrorIs(t, err, leveret.Unavailable)
}

// A doubt of a handler is a 504 between two services, too.
func TestDoubtGoesThrough(t *testing.T) {
	t.Parallel()
	back, front := newShop(leveret.HandlersConfig{}), newShop(leveret.HandlersConfig{})
	dying := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	caller := newCaller(t, httprpc.CallerConfig{Service: back.caller, URLs: []string{dying.URL}})
	front.do = func(ctx context.Context) error {
		_, err := back.place.Call(ctx, caller, cart{})
		return err
	}
	a := ask(t, front.server(t, httprpc.ServerConfig{}), "GET /orders/7", "")
	require.Equal(t, http.StatusGatewayTimeout, a.StatusCode)
	require.Contains(t, a.body, `"code":"unavailable","reason":"outcome_unknown"`)
	require.Empty(t, a.Header.Get("Retry-After"))
}

// staleServer answers the first request on each connection. Of the second it reads all, and closes the connection: what
// a server does that handles a request and dies, and what one seems to do that closes a connection which was idle.
type staleServer struct {
	net.Listener

	all             sync.WaitGroup
	conns, requests atomic.Int64
}

func newStaleServer(t *testing.T) *staleServer {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &staleServer{Listener: l}
	s.all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			s.all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.all.Wait()
	})
	return s
}

func (s *staleServer) serve(conn net.Conn) {
	defer conn.Close()
	for answer := true; ; answer = false {
		buffer := make([]byte, 64<<10)
		if n, err := conn.Read(buffer); err != nil || n == 0 {
			return
		}
		s.requests.Add(1)
		if !answer {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	}
}

// net/http sends a request again by itself that has an Idempotency-Key or no body, when a connection breaks that was
// idle before. A request that is not idempotent must not be sent twice, whatever its method promises.
func TestRequestsAreNotReplayed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		call    func(s *shop, caller leveret.Caller) error
		repeats bool
	}{
		"POST": {func(s *shop, c leveret.Caller) error { _, err := s.place.Call(t.Context(), c, cart{}); return err }, false},
		"DELETE": {func(s *shop, c leveret.Caller) error {
			_, err := s.cancel.Call(t.Context(), c, order{OrderID: "7"})
			return err
		}, false},
		"GET": {func(s *shop, c leveret.Caller) error {
			_, err := s.show.Call(t.Context(), c, order{OrderID: "7"})
			return err
		}, false},
		"POST, idempotent": {func(s *shop, c leveret.Caller) error { _, err := s.pay.Call(t.Context(), c, cart{}); return err }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stale *staleServer
			var err error
			for { // until the second call goes over the first's connection, which net/http gives up where it was slow
				stale = newStaleServer(t)
				s := newShop(leveret.HandlersConfig{})
				caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{"http://" + stale.Addr().String()}})
				require.NoError(t, c.call(s, caller))
				if err = c.call(s, caller); stale.conns.Load() != 2 || stale.requests.Load() != 2 {
					break
				}
			}
			if c.repeats {
				require.NoError(t, err)
				require.EqualValues(t, 3, stale.requests.Load())
				return
			}
			require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
			require.ErrorIs(t, err, leveret.Unavailable)
			require.EqualValues(t, 2, stale.requests.Load())
		})
	}
}

// brokenConn fails the second request that is written to it, before any of it is.
type brokenConn struct {
	net.Conn

	writes atomic.Int64
}

func (c *brokenConn) Write(b []byte) (int, error) {
	if c.writes.Add(1) > 1 {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// A connection that is found closed before anything was written leaves no doubt: the request is sent again.
func TestNothingWritten(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{})
	var dialed atomic.Int64
	config := httprpc.CallerConfig{Service: s.caller, URLs: []string{server.URL}}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		dialed.Add(1)
		return &brokenConn{Conn: conn}, err
	}
	caller, err := httprpc.NewCallerWithDial(config, dial)
	require.NoError(t, err)
	defer caller.Close()
	for range 5 {
		_, err := s.place.Call(t.Context(), caller, cart{})
		require.NoError(t, err)
	}
	require.EqualValues(t, 5, dialed.Load())
}

// A client certificate that the server refuses is refused after the client has written: nothing was handled.
func TestRefusedCertificate(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	var handled atomic.Int64
	s.do = func(context.Context) error { handled.Add(1); return nil }
	h, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for name, config := range map[string]*tls.Config{
		"no certificate": {RootCAs: roots, MinVersion: tls.VersionTLS13}, "not trusted": {MinVersion: tls.VersionTLS13},
	} {
		caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{server.URL}, TLS: config, NoRetries: true})
		_, err = s.place.Call(t.Context(), caller, cart{})
		require.ErrorIs(t, err, leveret.Unavailable, name)
		require.ErrorIs(t, err, leveret.ErrNotConnected, name)
		require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown, name)
	}
	require.Zero(t, handled.Load())
}

func TestNewCallerFindsMistakes(t *testing.T) {
	t.Parallel()
	_, err := httprpc.NewCaller(httprpc.CallerConfig{})
	require.ErrorContains(t, err, "Service is nil")
	wrong := leveret.NewRequest[cart, cart]("shop.wrong", leveret.HTTP("GET /carts/{id}"))
	_, err = httprpc.NewCaller(httprpc.CallerConfig{
		Service: leveret.NewService("gateway", leveret.Calls(wrong)), URLs: []string{"ftp://x", "://", "http://u:hunter2@x", "http://x?y"},
		Client: &http.Client{}, HTTP2: true,
	})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	for _, want := range []string{
		`shop.wrong: the pattern "GET /carts/{id}" has the parameter "id", which is no field`, `the field "token" is secret`,
		`URLs[0] is "ftp://x"`, `URLs[1] is not a URL`, `URLs[2] is "http://u:xxxxx@x"`, `URLs[3] is "http://x?xxxxx"`, "a Client has its own transport",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
	_, err = httprpc.NewCaller(httprpc.CallerConfig{Service: newShop(leveret.HandlersConfig{}).caller})
	require.ErrorContains(t, err, "URLs is empty")
}

func TestClosedCaller(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{s.server(t, httprpc.ServerConfig{}).URL}})
	require.NoError(t, caller.Close())
	_, err := s.ping.Call(t.Context(), caller, nothing{})
	require.ErrorIs(t, err, leveret.ErrClosed)
	require.ErrorIs(t, err, leveret.Unavailable)
}

// A client of one's own makes the requests, and follows no redirects either.
func TestOwnClient(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{})
	caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{server.URL}, Client: server.Client()})
	_, err := s.ping.Call(t.Context(), caller, nothing{})
	require.NoError(t, err)
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.ping.Call(ctx, caller, nothing{})
	require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.ErrorIs(t, err, leveret.DeadlineExceeded)
}

// The time that is left travels, not a point in time.
func TestTimeoutTravels(t *testing.T) {
	t.Parallel()
	headers := make(chan http.Header, 1)
	s, caller := foreign(t, func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	})
	const limit = leveret.DefaultTimeout - time.Second
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := s.ping.Call(ctx, caller, nothing{}, leveret.Header("tenant", "blue"))
	require.NoError(t, err)
	h := <-headers
	left, err := rpc.ParseTimeout(h.Get(rpc.Timeout), time.Hour)
	require.NoError(t, err)
	require.Positive(t, left)
	require.LessOrEqual(t, left, limit)
	require.Equal(t, "gateway", h.Get(rpc.AppID))
	require.NotEmpty(t, h.Get(rpc.IdempotencyKey))
}
