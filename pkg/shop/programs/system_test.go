package programs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// The secrets of the customers, which no log may hold.
const (
	password  = "planted-password-9c41"
	cardToken = "tok_planted_card_9c41"
)

// output is what a program logs. It is safe for concurrent use.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed by the next write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// ready is a program's record that it is ready.
type ready struct{ Msg, Health, HTTP, GRPC string }

// await waits for the record.
func (o *output) await(ctx context.Context, t *testing.T) ready {
	t.Helper()
	for {
		o.mu.Lock()
		text, changed := o.text.String(), o.changed
		o.mu.Unlock()
		for line := range strings.Lines(text) {
			var r ready
			if json.Unmarshal([]byte(line), &r) == nil && r.Msg == "ready" {
				return r
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			require.Fail(t, "a program is not ready", text)
		}
	}
}

// system is the whole shop, with each program in this process.
type system struct {
	gateway string // its URL
	dir     string // has a folder for the files of each program
	client  *http.Client
	logs    map[string]*output
	errors  []byte // all answers that were errors
}

// run runs all programs, those that are called by others first.
func run(t *testing.T, broker string, settings map[string]string) *system {
	t.Helper()
	s := &system{dir: t.TempDir(), client: &http.Client{Transport: &http.Transport{}}, logs: make(map[string]*output)}
	t.Cleanup(s.client.CloseIdleConnections)
	where := make(map[string]string)
	for _, level := range [][]string{{"auth", "payment", "inventory", "notify"}, {"user", "order"}, {"gateway"}} {
		for _, name := range level {
			log := newOutput()
			s.logs[name] = log
			i := slices.IndexFunc(programs.All(), func(p service.Program) bool { return p.Service.Name() == name })
			p := programs.All()[i]
			p.Overrides = map[string]string{
				"broker.url": broker, "data.dir": filepath.Join(s.dir, name), "health.address": "127.0.0.1:0", "log.level": "debug", "log.format": "json",
			}
			for _, key := range []string{"http.address", "grpc.address"} {
				if p.Defaults[key] != "" {
					p.Overrides[key] = "127.0.0.1:0"
				}
			}
			for _, more := range []map[string]string{where, shoptest.Settings(t, name), settings} {
				maps.Copy(p.Overrides, more)
			}
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan int, 1)
			go func() { ended <- p.Run(ctx, nil, io.Discard, log) }()
			t.Cleanup(func() {
				end()
				require.Equal(t, 0, <-ended, "%s: %s", name, log)
			})
		}
		for _, name := range level {
			r := s.logs[name].await(t.Context(), t)
			switch name {
			case "gateway":
				s.gateway = "http://" + r.HTTP
			case "auth", "payment":
				where["peers."+name+".grpc_address"] = r.GRPC
				fallthrough
			case "user", "order":
				where["peers."+name+".http_url"] = "http://" + r.HTTP
			}
		}
	}
	return s
}

// answer is an answer of the shop: what any of its routes may answer.
type answer struct {
	Status       int
	Header       http.Header
	Code, Reason string
	State        string
	OrderID      string `json:"order_id"`
	UserID       string `json:"user_id"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	NextCursor   string `json:"next_cursor"`
	Orders       []struct {
		OrderID string `json:"order_id"`
		State   string
	}
}

// do asks again where the machine is too busy for an answer, as a client may: what creates something has a key.
func (s *system) do(t *testing.T, method, path, token, key string, body any) answer {
	t.Helper()
	for {
		a := s.try(t, method, path, token, key, body)
		if a.Status != http.StatusGatewayTimeout && a.Status != http.StatusServiceUnavailable {
			return a
		}
		contexts.Sleep(t.Context(), 50*time.Millisecond)
	}
}

func (s *system) try(t *testing.T, method, path, token, key string, body any) answer {
	t.Helper()
	a, content, err := s.ask(t.Context(), method, path, token, key, body)
	require.NoError(t, err, string(content))
	if a.Status >= 400 {
		s.errors = append(append(s.errors, content...), '\n')
	}
	return a
}

// ask makes a request of the gateway. Without an answer, the status is 0. It is safe for concurrent use.
func (s *system) ask(ctx context.Context, method, path, token, key string, body any) (a answer, content []byte, err error) {
	if body != nil {
		content, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.gateway+path, bytes.NewReader(content))
	if err != nil {
		return a, nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	got, err := s.client.Do(r)
	if err != nil {
		return a, nil, err
	}
	defer got.Body.Close()
	content, err = io.ReadAll(got.Body)
	if err == nil && len(content) > 0 {
		err = json.Unmarshal(content, &a)
	}
	a.Status, a.Header = got.StatusCode, got.Header
	return a, content, err
}

// signUp registers a customer, who logs in.
func (s *system) signUp(t *testing.T, email string) answer {
	t.Helper()
	a := s.do(t, "POST", "/users", "", uuid.NewString(), map[string]any{"email": email, "name": "Ada", "password": password})
	require.Equal(t, 201, a.Status)
	return s.logIn(t, email)
}

func (s *system) logIn(t *testing.T, email string) answer {
	t.Helper()
	a := s.do(t, "POST", "/log-in", "", "", map[string]any{"email": email, "password": password})
	require.Equal(t, 200, a.Status)
	return a
}

// The states in which an order stays.
const confirmed, cancelled = "confirmed", "cancelled"

// settled reads an order until it is confirmed or cancelled.
func (s *system) settled(t *testing.T, token, path string) string {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		a := s.do(t, "GET", path, token, "", nil)
		require.Equal(t, 200, a.Status)
		if a.State == confirmed || a.State == cancelled {
			return a.State
		}
		<-ticker.C
	}
}

func order(sku string, quantity int) map[string]any {
	return map[string]any{"card_token": cardToken, "lines": []any{
		map[string]any{"sku": sku, "quantity": quantity, "unit_price": map[string]any{"amount": 999, "currency": "EUR"}},
	}}
}

// The shop serves its customers over each transport, and no program logs a secret, whatever its level.
func TestCustomers(t *testing.T) {
	t.Parallel()
	for transport, settings := range map[string]map[string]string{
		"default": {},
		"amqp":    {"gateway.transport": "amqp", "order.payment.transport": "amqp", "user.auth.transport": "amqp"},
		"mixed":   {"gateway.transport": "http", "order.payment.transport": "grpc", "user.auth.transport": "http"},
	} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := run(t, leverettest.Broker(t), settings)
			ada := s.signUp(t, "ada@example.com")
			me := s.do(t, "GET", "/me", ada.AccessToken, "", nil)
			require.Equal(t, 200, me.Status)

			var ids []string
			for i, sku := range []string{"TEA-GREEN", "MUG-SOLDOUT", "TEA-BLACK"} {
				placed := s.do(t, "POST", "/orders", ada.AccessToken, fmt.Sprint("order ", i), order(sku, 1))
				require.Equal(t, 202, placed.Status)
				require.Equal(t, "/orders/"+placed.OrderID, placed.Header.Get("Location"))
				again := s.do(t, "POST", "/orders", ada.AccessToken, fmt.Sprint("order ", i), order(sku, 1))
				require.Equal(t, placed.OrderID, again.OrderID)
				require.Equal(t, "idempotency_key_reused", s.do(t, "POST", "/orders", ada.AccessToken, fmt.Sprint("order ", i), order(sku, 2)).Reason)
				want := confirmed
				if sku == "MUG-SOLDOUT" {
					want = cancelled
				}
				require.Equal(t, want, s.settled(t, ada.AccessToken, placed.Header.Get("Location")))
				ids = append([]string{placed.OrderID}, ids...)
			}
			var listed []string
			for cursor := "?limit=1"; cursor != ""; {
				page := s.do(t, "GET", "/orders"+cursor, ada.AccessToken, "", nil)
				require.Equal(t, 200, page.Status)
				require.Len(t, page.Orders, 1)
				listed = append(listed, page.Orders[0].OrderID)
				if cursor = ""; page.NextCursor != "" {
					cursor = "?limit=1&cursor=" + page.NextCursor
				}
			}
			require.Equal(t, ids, listed)

			require.Equal(t, "order_confirmed", s.do(t, "POST", "/orders/"+ids[0]+"/cancel", ada.AccessToken, "", nil).Reason)
			require.Equal(t, 200, s.do(t, "POST", "/orders/"+ids[1]+"/cancel", ada.AccessToken, "", nil).Status)
			eve := s.signUp(t, "eve@example.com")
			require.Equal(t, 404, s.do(t, "GET", "/orders/"+ids[0], eve.AccessToken, "", nil).Status)
			require.Equal(t, 404, s.do(t, "POST", "/orders/"+ids[0]+"/cancel", eve.AccessToken, "", nil).Status)

			refresh := func(token string) answer {
				return s.do(t, "POST", "/refresh", "", uuid.NewString(), map[string]any{"refresh_token": token})
			}
			fresh := refresh(ada.RefreshToken)
			require.Equal(t, 200, fresh.Status)
			require.Equal(t, 204, s.do(t, "POST", "/log-out", "", "", map[string]any{"refresh_token": fresh.RefreshToken}).Status)
			require.Equal(t, "token_invalid", refresh(fresh.RefreshToken).Reason)
			wrong := s.do(t, "POST", "/log-in", "", "", map[string]any{"email": "ada@example.com", "password": password + "!"})
			require.Equal(t, "wrong_credentials", wrong.Reason)
			short := s.do(t, "POST", "/users", "", "", map[string]any{"email": "x", "name": "X", "password": "short9c"})
			require.Equal(t, 400, short.Status)

			secrets := []string{
				password, cardToken, "short9c", ada.AccessToken, ada.RefreshToken, fresh.AccessToken, fresh.RefreshToken, eve.AccessToken, eve.RefreshToken,
			}
			debug := false
			for name, log := range s.logs {
				debug = debug || strings.Contains(log.String(), `"level":"DEBUG"`)
				for _, secret := range secrets {
					require.False(t, strings.Contains(log.String(), secret), "%s logs a secret", name) //nolint:testifylint // NotContains would print it
				}
			}
			require.True(t, debug)
			for _, secret := range secrets {
				require.NotContains(t, string(s.errors), secret)
			}
		})
	}
}

// While the broker is away, customers read and log in; what they order is either on its way or refused, and makes one
// order when it is placed again.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	broker := newRelay(t, leverettest.Broker(t))
	s := run(t, broker.url, nil)
	ada := s.signUp(t, "ada@example.com")
	first := s.do(t, "POST", "/orders", ada.AccessToken, "first", order("TEA-GREEN", 1))
	require.Equal(t, 202, first.Status)
	require.Equal(t, confirmed, s.settled(t, ada.AccessToken, first.Header.Get("Location")))

	broker.cut()
	refused := s.try(t, "POST", "/orders", ada.AccessToken, "second", order("TEA-GREEN", 2))
	for refused.Status == http.StatusGatewayTimeout {
		refused = s.try(t, "POST", "/orders", ada.AccessToken, "second", order("TEA-GREEN", 2))
	}
	require.Equal(t, 503, refused.Status)
	require.Equal(t, "order_not_confirmed", refused.Reason)
	require.NotEmpty(t, refused.Header.Get("Retry-After"))
	require.Empty(t, refused.Header.Get("Location"))

	again := s.logIn(t, "ada@example.com")
	require.Equal(t, 200, s.do(t, "GET", "/me", again.AccessToken, "", nil).Status)
	require.Equal(t, confirmed, s.do(t, "GET", "/orders/"+first.OrderID, again.AccessToken, "", nil).State)
	require.Len(t, s.do(t, "GET", "/orders", again.AccessToken, "", nil).Orders, 1)
	require.Equal(t, 200, s.do(t, "POST", "/refresh", "", uuid.NewString(), map[string]any{"refresh_token": again.RefreshToken}).Status)
	bob := s.signUp(t, "bob@example.com")

	broker.join(t)
	second := s.do(t, "POST", "/orders", ada.AccessToken, "second", order("TEA-GREEN", 2)) // once the gateway is connected again
	require.Equal(t, 202, second.Status)
	require.Equal(t, confirmed, s.settled(t, ada.AccessToken, second.Header.Get("Location")))
	require.Len(t, s.do(t, "GET", "/orders", ada.AccessToken, "", nil).Orders, 2)
	require.Equal(t, 202, s.do(t, "POST", "/orders", bob.AccessToken, "bob", order("TEA-GREEN", 1)).Status)
}
