package gateway_test

import (
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

// A customer registers, logs in, places orders, reads, lists and cancels them, refreshes the tokens, and logs out.
// Every request and every answer is as the OpenAPI document describes it, and no secret is seen on the way.
func TestFlow(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	me := get[gateway.User](t, s, 200, call{path: "/me", as: ada})
	require.Equal(t, gateway.User{UserID: ada.userID, Email: "ada@example.com", Name: "ada", RegisteredAt: me.RegisteredAt}, me)

	var ids []string
	for n := range 5 {
		answer, _ := s.do(t, call{path: "/orders", as: ada, body: anOrder(n + 1)})
		require.Equal(t, 202, answer.StatusCode)
		ids = append(ids, answer.Header.Get("Location")[len("/orders/"):])
		s.deliver(t)
	}
	shown := get[gateway.Order](t, s, 200, call{path: "/orders/" + ids[0], as: ada})
	require.Equal(t, "placed", shown.State)
	require.Equal(t, &queues.Money{Amount: 999, Currency: "EUR"}, shown.Total)

	var listed []string
	path, pages := "/orders?limit=2", 0
	for ; path != ""; pages++ {
		page := get[gateway.Orders](t, s, 200, call{path: path, as: ada})
		for _, o := range page.Orders {
			listed = append([]string{o.OrderID}, listed...)
		}
		path = ""
		if page.NextCursor != "" {
			path = "/orders?limit=2&cursor=" + url.QueryEscape(page.NextCursor)
		}
	}
	require.Equal(t, ids, listed)
	require.Equal(t, 3, pages)

	for range 2 {
		cancelled := get[gateway.Order](t, s, 200, call{method: http.MethodPost, path: "/orders/" + ids[1] + "/cancel", as: ada})
		require.Equal(t, "cancelled", cancelled.State)
		require.Equal(t, "requested", cancelled.Reason)
		require.NotNil(t, cancelled.DecidedAt)
	}

	again := get[customer](t, s, 200, call{path: "/refresh", body: map[string]string{"refresh_token": ada.RefreshToken}})
	require.NotEqual(t, ada.RefreshToken, again.RefreshToken)
	get[gateway.User](t, s, 200, call{path: "/me", as: &again})
	answer, content := s.do(t, call{path: "/log-out", body: map[string]string{"refresh_token": again.RefreshToken}})
	require.Equal(t, 204, answer.StatusCode)
	require.Empty(t, content)
	p := get[problem](t, s, 401, call{path: "/refresh", body: map[string]string{"refresh_token": again.RefreshToken}})
	require.Equal(t, "token_invalid", p.Reason)
	s.requireNoSecrets(t, ada.AccessToken, ada.RefreshToken, again.AccessToken, again.RefreshToken)
}

func TestRegisterTwice(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	body := map[string]string{"email": "ada@example.com", "name": "Ada", "password": password}
	for _, key := range []string{"any text – 1", uuid.Must(uuid.NewV7()).String()} {
		body["email"] = key[:3] + "@example.com"
		first := get[gateway.User](t, s, 201, call{path: "/users", body: body, key: key})
		require.Equal(t, first, get[gateway.User](t, s, 201, call{path: "/users", body: body, key: key}))
		body["name"] = "Bob"
		p := get[problem](t, s, 409, call{path: "/users", body: body, key: key})
		require.Equal(t, "user_exists", p.Reason)
		p = get[problem](t, s, 409, call{path: "/users", body: body})
		require.Equal(t, "email_taken", p.Reason)
		body["name"] = "Ada"
	}
}

// An order is accepted when the broker has confirmed it, and not before.
func TestPlaceOrder(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada, bob := s.join(t, "ada"), s.join(t, "bob")
	answer, _ := s.do(t, call{path: "/orders", as: ada, body: anOrder(1), key: "k"})
	require.Equal(t, 202, answer.StatusCode)
	first := get[gateway.Accepted](t, s, 202, call{path: "/orders", as: ada, body: anOrder(1), key: "k"})
	require.Equal(t, "/orders/"+first.OrderID, answer.Header.Get("Location"))
	require.Equal(t, "/orders/"+first.OrderID, first.Status)
	spaced := ` {"lines":[{"unit_price":{"currency":"EUR","amount":999}, "quantity":1, "sku":"TEA-GREEN"}], "card_token":"` + cardToken + `"}`
	require.Equal(t, first, get[gateway.Accepted](t, s, 202, call{path: "/orders", as: ada, body: spaced, key: "k"}))
	for _, m := range s.sent.Messages() {
		require.Equal(t, first.OrderID, m.ID)
		placed, err := queues.PlaceOrder.Decode(m.Body)
		require.NoError(t, err)
		require.Equal(t, ada.userID, placed.CustomerID)
		require.Equal(t, first.OrderID, placed.OrderID)
	}
	p := get[problem](t, s, 409, call{path: "/orders", as: ada, body: anOrder(2), key: "k"})
	require.Equal(t, "idempotency_key_reused", p.Reason)
	require.Len(t, s.sent.Messages(), 3)

	theirs := get[gateway.Accepted](t, s, 202, call{path: "/orders", as: bob, body: anOrder(1), key: "k"})
	require.NotEqual(t, first.OrderID, theirs.OrderID, "a key is its customer's own")
	keyless := get[gateway.Accepted](t, s, 202, call{path: "/orders", as: ada, body: anOrder(1)})
	require.NotEqual(t, first.OrderID, keyless.OrderID)

	require.Equal(t, "accepted", get[gateway.Order](t, s, 200, call{path: first.Status, as: ada}).State, "it is not stored yet")
	get[problem](t, s, 404, call{path: first.Status, as: bob})
	p = get[problem](t, s, 503, call{method: http.MethodPost, path: first.Status + "/cancel", as: ada})
	require.Equal(t, "order_not_stored", p.Reason)
	require.Positive(t, p.RetryAfterMs)
	s.deliver(t)
	require.Equal(t, "placed", get[gateway.Order](t, s, 200, call{path: first.Status, as: ada}).State)
	require.Len(t, get[gateway.Orders](t, s, 200, call{path: "/orders", as: ada}).Orders, 2)
}

// A key is the same order at every gateway, though each has its own store, and one may lose its own.
func TestPlaceOrderAtAnotherGateway(t *testing.T) {
	t.Parallel()
	var ids []string
	for range 2 {
		remembered, err := gateway.OpenStore(t.Context(), shoptest.Source(t, "gateway"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, remembered.Close()) })
		for _, customer := range []string{"ada", "bob"} {
			id, err := remembered.Claim(t.Context(), customer, "k", gateway.PlaceOrderRequest{}, time.Now())
			require.NoError(t, err)
			ids = append(ids, id)
		}
	}
	require.Equal(t, ids[:2], ids[2:])
	require.NotEqual(t, ids[0], ids[1])
}

// However often an order is placed at the same moment under one key, it is one order.
func TestPlaceOrderAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	c := call{path: "/orders", as: ada, body: anOrder(1), key: "k"}
	requests := make([]*http.Request, 8)
	for i := range requests {
		requests[i] = c.request(t, s.url)
	}
	var all sync.WaitGroup
	for _, r := range requests {
		all.Go(func() {
			answer, err := s.client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusAccepted {
				t.Error(answer.Status)
			}
		})
	}
	all.Wait()
	require.Len(t, s.sent.Messages(), len(requests))
	s.deliver(t)
	require.Len(t, get[gateway.Orders](t, s, 200, call{path: "/orders", as: ada}).Orders, 1)
}

// A send that is not confirmed is never an order that is accepted, and trying again makes no second one.
func TestNotConfirmed(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*leverettest.Recorder){
		"no connection":    func(r *leverettest.Recorder) { r.FailBefore(1, leveret.ErrNotConnected) },
		"alarm":            func(r *leverettest.Recorder) { r.FailBefore(1, leveret.ErrBlocked) },
		"nack":             func(r *leverettest.Recorder) { r.FailBefore(1, leveret.ErrNacked) },
		"no queue":         func(r *leverettest.Recorder) { r.FailBefore(1, leveret.ErrUnroutable) },
		"refused":          func(r *leverettest.Recorder) { r.FailBefore(1, leveret.ErrRefused) },
		"confirm was lost": func(r *leverettest.Recorder) { r.FailAfter(1, leveret.ErrUnconfirmed) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, nil)
			ada := s.join(t, "ada")
			fail(s.sent)
			answer, _ := s.do(t, call{path: "/orders", as: ada, body: anOrder(1), key: "k"})
			require.Equal(t, 503, answer.StatusCode)
			require.Equal(t, "1", answer.Header.Get("Retry-After"))
			require.Empty(t, answer.Header.Get("Location"))
			placed := get[gateway.Accepted](t, s, 202, call{path: "/orders", as: ada, body: anOrder(1), key: "k"})
			s.deliver(t)
			page := get[gateway.Orders](t, s, 200, call{path: "/orders", as: ada})
			require.Len(t, page.Orders, 1)
			require.Equal(t, placed.OrderID, page.Orders[0].OrderID)
		})
	}
}

// The caller's own time limit counts, too.
func TestTimeLimit(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	for _, limit := range []string{"0", "-1", "soon", "1e3"} {
		get[problem](t, s, 400, call{path: "/me", as: ada, header: http.Header{"Leveret-Timeout-Ms": {limit}}})
	}
	before := s.asked()
	get[gateway.User](t, s, 200, call{path: "/me", as: ada, header: http.Header{"Leveret-Timeout-Ms": {"999999999999"}}})
	require.Equal(t, before+1, s.asked())
	deadline := s.users.Messages()[len(s.users.Messages())-1].Deadline
	require.Less(t, time.Until(deadline), 10*time.Second)
}
