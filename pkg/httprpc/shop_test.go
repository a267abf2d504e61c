package httprpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// order is a payload with a field of every kind that a parameter can fill.
type order struct {
	OrderID  string    `json:"order_id"`
	SKU      string    `json:"sku,omitempty"`
	Quantity int       `json:"quantity,omitempty" jsonschema:"minimum=0"`
	Weight   float64   `json:"weight,omitempty"`
	Gift     *bool     `json:"gift,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Sizes    []int     `json:"sizes,omitempty"`
	PlacedAt time.Time `json:"placed_at,omitzero"`
	Customer uuid.UUID `json:"customer,omitzero"`
	Price    int64     `json:"price,omitempty,string"`
	paging
}

type paging struct {
	Limit  uint8  `json:"limit,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

func (o order) Validate() error {
	if o.Quantity < 0 {
		return errors.New("quantity: must not be negative")
	}
	return nil
}

// cart is a payload with fields that only a body can hold.
type cart struct {
	OrderID string         `json:"order_id"`
	Lines   []line         `json:"lines"`
	Token   leveret.Secret `json:"token,omitempty"`
}

type line struct {
	SKU string `json:"sku"`
}

type nothing struct{}

// shop is a service whose handlers answer with what they got, unless do is set.
type shop struct {
	place  *leveret.Request[cart, cart]
	show   *leveret.Request[order, order]
	change *leveret.Request[cart, cart]
	cancel *leveret.Request[order, nothing]
	pay    *leveret.Request[cart, cart]
	ping   *leveret.Request[nothing, nothing]
	file   *leveret.Request[order, order]

	service  *leveret.Service
	handlers *leveret.Handlers
	caller   *leveret.Service
	do       func(ctx context.Context) error // before each answer
}

func newShop(config leveret.HandlersConfig) *shop {
	s := &shop{
		place:  leveret.NewRequest[cart, cart]("shop.place", leveret.HTTP("POST /orders")),
		show:   leveret.NewRequest[order, order]("shop.show", leveret.HTTP("GET /orders/{order_id}")),
		change: leveret.NewRequest[cart, cart]("shop.change", leveret.HTTP("PUT /orders/{order_id}")),
		cancel: leveret.NewRequest[order, nothing]("shop.cancel", leveret.HTTP("DELETE /orders/{order_id}")),
		pay:    leveret.NewRequest[cart, cart]("shop.pay", leveret.Idempotent()),
		ping:   leveret.NewRequest[nothing, nothing]("shop.ping"),
		file:   leveret.NewRequest[order, order]("shop.file", leveret.HTTP("GET /files/{sku...}")),
	}
	all := []leveret.Contract{s.place, s.show, s.change, s.cancel, s.pay, s.ping, s.file}
	s.service = leveret.NewService("shop", leveret.Answers(all...))
	s.caller = leveret.NewService("gateway", leveret.Calls(all...))
	s.handlers = leveret.NewHandlers(s.service, config)
	s.place.Answer(s.handlers, echo[cart](s))
	s.show.Answer(s.handlers, echo[order](s))
	s.change.Answer(s.handlers, echo[cart](s))
	s.cancel.Answer(s.handlers, func(ctx context.Context, _ order) (nothing, error) { return nothing{}, s.done(ctx) })
	s.pay.Answer(s.handlers, echo[cart](s))
	s.ping.Answer(s.handlers, echo[nothing](s))
	s.file.Answer(s.handlers, echo[order](s))
	return s
}

func echo[T any](s *shop) func(context.Context, T) (T, error) {
	return func(ctx context.Context, payload T) (T, error) { return payload, s.done(ctx) }
}

func (s *shop) done(ctx context.Context) error {
	if s.do == nil {
		return nil
	}
	return s.do(ctx)
}

func (s *shop) routes() []httprpc.Route {
	return []httprpc.Route{
		{Contract: s.place, Status: http.StatusCreated, Location: "/orders/{order_id}", Summary: "Place an order"},
		{Contract: s.show},
		{Contract: s.change, Status: http.StatusAccepted},
		{Contract: s.cancel, Status: http.StatusNoContent},
		{Contract: s.pay, Pattern: "POST /payments"},
		{Contract: s.ping, Public: true},
		{Contract: s.file},
	}
}

// server serves the shop, each contract under its own pattern.
func (s *shop) server(t testing.TB, config httprpc.ServerConfig) *httptest.Server {
	t.Helper()
	config.Logger = slog.New(slog.DiscardHandler)
	server, err := httprpc.NewServer(s.handlers, config)
	require.NoError(t, err)
	return serve(t, server)
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

func newCaller(t testing.TB, config httprpc.CallerConfig) *httprpc.Caller {
	t.Helper()
	caller, err := httprpc.NewCaller(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, caller.Close()) })
	return caller
}

// answered is an answer of which the body was read.
type answered struct {
	*http.Response

	body string
}

// ask makes a request as any client might: "POST /orders", with headers as pairs of name and value.
func ask(t testing.TB, server *httptest.Server, request, body string, headers ...string) answered {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	return do(t, server, r)
}

func do(t testing.TB, server *httptest.Server, r *http.Request) answered {
	t.Helper()
	client := *server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answered{response, string(got)}
}

// For what takes milliseconds on an idle machine.
const (
	waiting = 30 * time.Second
	tick    = 5 * time.Millisecond
)
