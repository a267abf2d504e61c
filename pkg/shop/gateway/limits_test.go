package gateway_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/shop/gateway"
)

// attempt is a log-in with a wrong password, forwarded for the addresses.
func attempt(forwardedFor ...string) call {
	return call{
		path: "/log-in", body: map[string]string{"email": "eve@example.com", "password": "guess-3b1f"},
		header: http.Header{"X-Forwarded-For": forwardedFor},
	}
}

// One address can try so many passwords and registrations, on whichever accounts, and no more. The rest of the API is
// not affected.
func TestClientAttempts(t *testing.T) {
	t.Parallel()
	s := openLimited(t, nil, gateway.Limits{ClientAttempts: 4, ClientInterval: time.Hour})
	ada := s.join(t, "ada") // two attempts
	get[problem](t, s, 401, attempt())
	get[problem](t, s, 400, call{path: "/users", body: map[string]string{}})
	before := s.asked()
	for _, c := range []call{
		attempt(),
		attempt("192.0.2.1"), attempt("192.0.2.2"), attempt("127.0.0.1"), // X-Forwarded-For is believed of nobody
		{path: "/log-in", body: map[string]string{"email": ada.email, "password": password}},
		{path: "/users", body: map[string]string{"email": "bob@example.com", "name": "Bob", "password": password}},
		{path: "/users", body: strings.Repeat(" ", 1<<20)},
	} {
		answer, content := s.do(t, c)
		require.Equal(t, 429, answer.StatusCode, "%s", content)
		require.Contains(t, string(content), "too_many_attempts")
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
	}
	require.Equal(t, before, s.asked(), "nothing has left the gateway")
	get[gateway.User](t, s, 200, call{path: "/me", as: ada})
	get[gateway.Session](t, s, 200, call{path: "/refresh", body: map[string]string{"refresh_token": ada.RefreshToken}})
}

// Behind a proxy, a client is the last address that the proxy was called from, whatever the client says before.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	s := openLimited(t, nil, gateway.Limits{
		ClientAttempts: 1, ClientInterval: time.Hour,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
	})
	for _, tc := range []struct {
		status       int
		forwardedFor []string
	}{
		{401, []string{"192.0.2.1"}},
		{429, []string{"192.0.2.1"}},
		{429, []string{"198.51.100.7, 192.0.2.1"}}, // said by the client
		{429, []string{"198.51.100.7", "192.0.2.1"}},
		{429, []string{"192.0.2.1, 10.1.2.3"}}, // through two proxies
		{429, []string{"::ffff:192.0.2.1"}},
		{401, []string{"192.0.2.2"}},
		{401, []string{"2001:db8::1"}},
		{429, []string{"2001:db8::2:1"}}, // the same network
		{401, []string{"2001:db8:0:1::1"}},
		{401, nil}, // the proxy itself
		{429, []string{"192.0.2.9, unknown"}},
		{429, []string{""}},
		{429, []string{strings.Repeat(",", 10_000)}},
	} {
		get[problem](t, s, tc.status, attempt(tc.forwardedFor...))
	}
}

// begin begins a request whose body never ends.
func (s *shop) begin(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "POST /refresh HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{")
	require.NoError(t, err)
	return conn
}

// Requests that take long are counted: beyond the limits, others are refused until they have ended.
func TestRequestsAtOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		limits gateway.Limits
		status int
		reason string
	}{
		{gateway.Limits{ClientRequests: 3}, 429, "too_many_requests"},
		{gateway.Limits{MaxRequests: 3}, 503, "busy"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			s := openLimited(t, nil, tc.limits)
			ada := s.join(t, "ada")
			me := call{path: "/me", as: ada}
			status := func(want int) func() bool {
				return func() bool { answer, _ := s.do(t, me); return answer.StatusCode == want }
			}
			slow := []net.Conn{s.begin(t), s.begin(t), s.begin(t)}
			require.Eventually(t, func() bool { // such a question may have taken the place of one of them, or their time is over
				answer, content := s.do(t, me)
				if answer.StatusCode != tc.status {
					slow = append(slow, s.begin(t))
					return false
				}
				require.Equal(t, "1", answer.Header.Get("Retry-After"))
				var p problem
				require.NoError(t, json.Unmarshal(content, &p))
				require.Equal(t, tc.reason, p.Reason)
				last := s.begin(t)
				refused, err := http.ReadResponse(bufio.NewReader(last), nil)
				require.NoError(t, err)
				require.NoError(t, refused.Body.Close())
				slow = append(slow, last)
				return refused.StatusCode == tc.status // at once, without its body; a 408 is one that was let in
			}, time.Minute, 10*time.Millisecond)
			for _, conn := range slow {
				require.NoError(t, conn.Close())
			}
			require.Eventually(t, status(200), time.Minute, time.Millisecond)
		})
	}
}

// Without a token, what a private route is sent is not looked at.
func TestTokenFirst(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	for _, c := range []call{
		{path: "/orders", body: "{"},
		{path: "/orders", body: strings.Repeat(" ", 1<<20)},
		{path: "/orders?limit=x"},
		{path: "/orders/x"},
		{method: http.MethodPost, path: "/orders/x/cancel"},
	} {
		require.Equal(t, "token_missing", get[problem](t, s, 401, c).Reason, c.path)
	}
	get[problem](t, s, 404, call{path: "/unknown"})
	get[problem](t, s, 405, call{method: http.MethodDelete, path: "/orders"})
}

// Over HTTP/2, a refusal comes after the body has arrived, however little it counts: some clients would lose it.
func TestRefusedAfterBody(t *testing.T) {
	t.Parallel()
	s := openLimited(t, nil, gateway.Limits{ClientAttempts: 1, ClientInterval: time.Hour})
	get[problem](t, s, 401, attempt())
	for _, tc := range []struct {
		path, authorization string
		status              int
	}{{"/orders", "", 401}, {"/orders", "Bearer forged", 401}, {"/refresh", "Bearer forged", 401}, {"/log-in", "", 429}} {
		body := strings.NewReader(strings.Repeat(" ", 1000))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tc.path, body)
		r.RemoteAddr, r.Proto, r.ProtoMajor, r.ProtoMinor = "127.0.0.1:1", "HTTP/2.0", 2, 0
		if tc.authorization != "" {
			r.Header.Set("Authorization", tc.authorization)
		}
		answer := httptest.NewRecorder()
		s.edge.ServeHTTP(answer, r)
		require.Equal(t, tc.status, answer.Code, tc)
		require.Zero(t, body.Len(), tc)
	}
}

// A client who does not read the answer keeps it in memory for a minute, and no longer.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	answer := &timed{ResponseRecorder: httptest.NewRecorder()}
	before := time.Now()
	s.edge.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.json", nil))
	require.Equal(t, 200, answer.Code)
	require.WithinRange(t, answer.deadline, before.Add(time.Minute), time.Now().Add(time.Minute))
}

// timed is an answer that knows until when it has to be written.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (r *timed) SetWriteDeadline(deadline time.Time) error {
	r.deadline = deadline
	return nil
}

func TestWrongLimits(t *testing.T) {
	t.Parallel()
	for _, l := range []gateway.Limits{{ClientAttempts: -1}, {ClientInterval: -1}, {ClientRequests: -1}, {MaxRequests: -1}} {
		_, err := gateway.New(nil, nil, gateway.Callers{}, gateway.Config{Limits: l})
		require.ErrorContains(t, err, "is -1; it must be positive")
	}
}
