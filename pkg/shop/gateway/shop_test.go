package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/auth"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/shop/token"
	"github.com/leveretmq/leveret/pkg/shop/user"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProjection) != "" {
		os.Exit(project())
	}
	testmain.Leaks(m)
}

// The secrets of the tests, which must not be seen anywhere but in the requests that carry them.
const (
	password  = "planted-password-7f3a"
	cardToken = "tok_planted_card_7f3a"
)

// shop is the gateway over HTTP, with the real order, user and auth services behind it, without a broker.
type shop struct {
	edge   *gateway.Edge
	store  *gateway.Store
	url    string
	client *http.Client
	// sent is what reached the broker.
	sent *leverettest.Recorder
	// orders, users and tokens are the ways to the services. They know what was asked.
	orders, users, tokens *leverettest.StubCaller
	placing               *leveret.Handlers // the order service's
	router                routers.Router    // of the OpenAPI document
	// key signs tokens that the gateway believes, beside those of the auth service.
	key ed25519.PrivateKey
	// seen is everything that could give a secret away: logs, and answers that are errors.
	seen *testmain.Output
}

const keyID = "key-of-the-test"

// generous are limits that no test reaches unless it means to.
var generous = gateway.Limits{ClientAttempts: 100_000, ClientRequests: 4096}

// open opens a shop. The settings of the auth service may be nil.
func open(t *testing.T, set func(*auth.Config)) *shop {
	t.Helper()
	return openLimited(t, set, generous)
}

func openLimited(t *testing.T, set func(*auth.Config), limits gateway.Limits) *shop {
	t.Helper()
	s := &shop{
		sent: &leverettest.Recorder{Service: queues.Gateway}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 300}},
		orders: &leverettest.StubCaller{Service: queues.Gateway}, users: &leverettest.StubCaller{Service: queues.Gateway},
		tokens: &leverettest.StubCaller{Service: queues.Gateway}, seen: &testmain.Output{},
	}
	t.Cleanup(s.client.CloseIdleConnections)
	log := slog.New(slog.NewJSONHandler(s.seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.openServices(t, log, set)

	remembered, err := gateway.OpenStore(t.Context(), shoptest.Source(t, "gateway"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, remembered.Close()) })
	edge, err := gateway.New(remembered, s.sent, gateway.Callers{Order: s.orders, User: s.users, Auth: s.tokens},
		gateway.Config{Version: "1.2.3", Logger: log, Limits: limits})
	require.NoError(t, err)
	running, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- edge.Run(running) }()
	t.Cleanup(func() { end(); require.NoError(t, <-ended) })
	server := httptest.NewServer(edge)
	t.Cleanup(server.Close)
	s.edge, s.store, s.url = edge, remembered, server.URL

	_, document := s.do(t, call{path: "/openapi.json"})
	described, err := openapi3.NewLoader().LoadFromData(document)
	require.NoError(t, err)
	require.NoError(t, described.Validate(t.Context()))
	s.router, err = gorillamux.NewRouter(described)
	require.NoError(t, err)
	return s
}

// openServices opens the services behind the gateway.
func (s *shop) openServices(t *testing.T, log *slog.Logger, set func(*auth.Config)) {
	t.Helper()
	logged := leveret.HandlersConfig{OnOutcome: func(ctx context.Context, m *leveret.Message, o leveret.Outcome) {
		log.DebugContext(ctx, "handled", "contract", m.Contract.Spec().Name, "error", o.Err)
	}}
	config := auth.Config{HashMemory: 64, HashTime: 1, Logger: log, UserAttempts: 1000, TotalAttempts: 100_000}
	if set != nil {
		set(&config)
	}
	passwords, err := auth.OpenStore(t.Context(), shoptest.Source(t, "auth"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, passwords.Close()) })
	authService, err := auth.New(passwords, config)
	require.NoError(t, err)
	authHandlers := leveret.NewHandlers(queues.Auth, logged)
	authService.Register(authHandlers)
	s.tokens.Serve(authHandlers)
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	s.key = private
	leverettest.Answer(s.tokens, queues.ListKeys, func(ctx context.Context, q queues.ListKeysRequest) (queues.ListKeysReply, error) {
		reply, err := authService.Keys(ctx, q)
		reply.Keys = append(reply.Keys, queues.NewPublicKey(keyID, public, time.Now().Add(time.Hour)))
		return reply, err
	})

	customers, err := user.OpenStore(t.Context(), shoptest.Source(t, "user"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, customers.Close()) })
	toAuth := &leverettest.StubCaller{Service: queues.User}
	toAuth.Serve(authHandlers)
	userHandlers := leveret.NewHandlers(queues.User, logged)
	user.New(customers, &leverettest.Recorder{Service: queues.User}, toAuth, user.Config{Logger: log}).Register(userHandlers)
	s.users.Serve(userHandlers)

	stored, err := order.OpenStore(t.Context(), shoptest.Source(t, "order"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stored.Close()) })
	toPayment := &leverettest.StubCaller{Service: queues.Order}
	leverettest.Answer(toPayment, queues.AuthorizePayment, func(_ context.Context, q queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
		return queues.AuthorizePaymentReply{
			OrderID: q.OrderID, AuthorizationID: uuid.NewString(), Status: queues.PaymentAuthorized, Amount: q.Amount, DecidedAt: time.Now(),
		}, nil
	})
	s.placing = leveret.NewHandlers(queues.Order, logged)
	o, err := stored.Outbox(t.Context(), outbox.Config{Logger: log})
	require.NoError(t, err)
	order.New(stored, o, toPayment, order.Config{}).Register(s.placing)
	s.orders.Serve(s.placing)
}

// deliver brings the order service the orders that were sent since the last time.
func (s *shop) deliver(t *testing.T) {
	t.Helper()
	for _, m := range s.sent.Messages() {
		placed, err := queues.PlaceOrder.Decode(m.Body)
		require.NoError(t, err)
		require.NoError(t, leverettest.Deliver(t.Context(), s.placing, queues.PlaceOrder, placed, leverettest.With(leveret.MessageID(m.ID))).Err)
	}
	s.sent.Reset()
}

// asked returns how many messages have left the gateway, without those for the keys of tokens.
func (s *shop) asked() int {
	n := len(s.sent.Messages()) + len(s.orders.Messages()) + len(s.users.Messages())
	for _, m := range s.tokens.Messages() {
		if m.Contract != queues.ListKeys {
			n++
		}
	}
	return n
}

// requireNoSecrets fails if a secret is in a log or in an error.
func (s *shop) requireNoSecrets(t *testing.T, secrets ...string) {
	t.Helper()
	seen := s.seen.String()
	for _, secret := range append(secrets, password, cardToken) {
		require.NotEmpty(t, secret)
		if i := strings.Index(seen, secret); i >= 0 {
			require.Fail(t, "a secret was seen", "%s", seen[max(i-300, 0):min(i+100, len(seen))])
		}
	}
}

// A call is a request of a customer.
type call struct {
	method, path string // GET and POST with a body, unless set
	as           *customer
	body         any // text and bytes are sent as they are
	key          string
	header       http.Header
}

// do makes a request. The answer must be one that the OpenAPI document describes, and so must the request be, if it
// succeeds.
func (s *shop) do(t *testing.T, c call) (*http.Response, []byte) {
	t.Helper()
	r := c.request(t, s.url)
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	answer, err := s.client.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	if answer.StatusCode >= 400 {
		_, _ = s.seen.Write(content)
		require.Equal(t, "application/problem+json", answer.Header.Get("Content-Type"), "%s %s: %s", r.Method, r.URL.Path, content)
	}
	require.Less(t, answer.StatusCode, 600)
	s.checkDocument(t, r, sent, answer, content)
	return answer, content
}

func (c call) request(t *testing.T, url string) *http.Request {
	t.Helper()
	var body io.Reader
	method := http.MethodGet
	if c.body != nil {
		method = http.MethodPost
		switch b := c.body.(type) {
		case string:
			body = strings.NewReader(b)
		case []byte:
			body = bytes.NewReader(b)
		default:
			encoded, err := json.Marshal(b)
			require.NoError(t, err)
			body = bytes.NewReader(encoded)
		}
	}
	if c.method != "" {
		method = c.method
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url+c.path, body)
	require.NoError(t, err)
	if c.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
	}
	if c.as != nil {
		r.Header.Set("Authorization", "Bearer "+c.as.AccessToken)
	}
	maps.Copy(r.Header, c.header)
	return r
}

// checkDocument checks a request and its answer by the OpenAPI document.
func (s *shop) checkDocument(t *testing.T, r *http.Request, sent []byte, answer *http.Response, content []byte) {
	t.Helper()
	if s.router == nil {
		return
	}
	route, params, err := s.router.FindRoute(r)
	if err != nil { // a path or a method that is not described
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route, Options: &openapi3filter.Options{
			AuthenticationFunc: func(_ context.Context, a *openapi3filter.AuthenticationInput) error {
				if !strings.HasPrefix(strings.ToLower(a.RequestValidationInput.Request.Header.Get("Authorization")), "bearer ") {
					return a.NewError(fmt.Errorf("no token"))
				}
				return nil
			},
		},
	}
	if answer.StatusCode < 400 {
		require.NoError(t, openapi3filter.ValidateRequest(t.Context(), input), "%s %s", r.Method, r.URL)
	}
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: answer.StatusCode, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(content)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}), "%s %s: %s", r.Method, r.URL, content)
}

// get makes a request that must be answered with a status, and decodes the answer.
func get[T any](t *testing.T, s *shop, status int, c call) (reply T) {
	t.Helper()
	answer, content := s.do(t, c)
	require.Equal(t, status, answer.StatusCode, "%s %s: %s", c.method, c.path, content)
	if len(content) > 0 {
		require.NoError(t, json.Unmarshal(content, &reply))
	}
	return reply
}

// A problem is an answer that is an error.
type problem struct {
	Status               int
	Code, Reason, Detail string
	Errors               []leveret.FieldViolation
	RetryAfterMs         int64 `json:"retry_after_ms"`
}

// customer is a customer who is logged in, with their tokens.
type customer struct {
	email, userID string

	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
}

// join registers a customer, who logs in.
func (s *shop) join(t *testing.T, name string) *customer {
	t.Helper()
	email := name + "@example.com"
	u := get[gateway.User](t, s, 201, call{path: "/users", body: map[string]string{"email": email, "name": name, "password": password}})
	c := s.logIn(t, email)
	c.email, c.userID = email, u.UserID
	return c
}

func (s *shop) logIn(t *testing.T, email string) *customer {
	t.Helper()
	c := get[customer](t, s, 200, call{path: "/log-in", body: map[string]string{"email": email, "password": password}})
	require.Equal(t, "Bearer", c.TokenType)
	return &c
}

// anOrder returns an order as a customer writes it.
func anOrder(quantity int) map[string]any {
	return map[string]any{"card_token": cardToken, "lines": []any{map[string]any{
		"sku": "TEA-GREEN", "quantity": quantity, "unit_price": map[string]any{"amount": 999, "currency": "EUR"},
	}}}
}

// sign returns a token that is signed by the test's key, with claims that are right but for the change.
func (s *shop) sign(t *testing.T, id string, key ed25519.PrivateKey, userID string, change func(*token.Claims)) string {
	t.Helper()
	c := token.Claims{
		Issuer: token.DefaultIssuer, Audience: token.DefaultAudience, UserID: userID, SessionID: uuid.NewString(), ID: uuid.NewString(),
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Minute),
	}
	if change != nil {
		change(&c)
	}
	signed, err := token.Sign(id, key, c)
	require.NoError(t, err)
	return string(signed)
}
