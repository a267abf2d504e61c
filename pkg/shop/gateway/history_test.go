package gateway_test

import (
	"context"
	"database/sql"
	"log/slog"
	"math/rand/v2"
	"net/url"
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

const patience = 2 * time.Minute

// connect returns a connection to a broker, and a client that publishes as the order service does.
func connect(t *testing.T, address string) (*leveret.Conn, *leveret.Client) {
	t.Helper()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{address}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	client, err := leveret.NewClient(conn, queues.Order, leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.WithoutCancel(t.Context()))) })
	return conn, client
}

// runHistory runs the projection until the test ends.
func runHistory(t *testing.T, conn *leveret.Conn, s *gateway.Store) (rebuild func()) {
	t.Helper()
	p := gateway.NewHistory(conn, s, slog.Default(), nil)
	require.NoError(t, p.Err())
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() { end(); require.NoError(t, <-ended) })
	return func() { require.NoError(t, p.Rebuild(t.Context())) }
}

var theLines = []queues.OrderLine{{SKU: "TEA-GREEN", Quantity: 2, UnitPrice: queues.Money{Amount: 999, Currency: "EUR"}}}

func placedEvent(id, customerID string, at time.Time) queues.OrderPlacedEvent {
	return queues.OrderPlacedEvent{
		OrderID: id, CustomerID: customerID, Lines: theLines, Total: queues.Money{Amount: 1998, Currency: "EUR"},
		AuthorizationID: uuid.NewString(), PlacedAt: at,
	}
}

// The history of a customer's orders is that of the events, in whatever order they come, though no other service answers.
func TestHistory(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	conn, client := connect(t, leverettest.Broker(t))
	ada, bob := s.join(t, "ada"), s.join(t, "bob")
	began := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Hour)
	var want []gateway.Order // newest first
	var publish []func()
	for i := range 7 {
		id, owner, at := uuid.Must(uuid.NewV7()).String(), ada, began.Add(time.Duration(i)*time.Minute)
		if i == 5 {
			owner = bob
		}
		o := gateway.Order{OrderID: id, State: "placed", Lines: theLines, Total: &queues.Money{Amount: 1998, Currency: "EUR"}}
		publish = append(publish, func() {
			require.NoError(t, queues.OrderPlaced.Publish(t.Context(), client, placedEvent(id, owner.userID, at)))
		})
		decided := at.Add(time.Second)
		switch i % 3 {
		case 0:
			o.State, o.DecidedAt = "confirmed", &decided
			publish = append(publish, func() {
				require.NoError(t, queues.OrderConfirmed.Publish(t.Context(), client, queues.OrderConfirmedEvent{OrderID: id, Total: *o.Total, ConfirmedAt: decided}))
			})
		case 1:
			o.State, o.Reason, o.DecidedAt = "cancelled", queues.CancelOutOfStock, &decided
			publish = append(publish, func() {
				require.NoError(t, queues.OrderCancelled.Publish(t.Context(), client, queues.OrderCancelledEvent{OrderID: id, Reason: o.Reason, CancelledAt: decided}))
			})
		}
		if owner == ada {
			want = append([]gateway.Order{o}, want...)
		}
	}
	rebuild := runHistory(t, conn, s.store)
	publish = append(publish, publish...) // as after confirms that were lost
	rand.Shuffle(len(publish), func(i, j int) { publish[i], publish[j] = publish[j], publish[i] })
	for _, p := range publish {
		p()
	}

	history := func() (orders []gateway.Order, pages int) {
		for path := "/orders/history?limit=2"; path != ""; pages++ {
			page := get[gateway.Orders](t, s, 200, call{path: path, as: ada})
			orders = append(orders, page.Orders...)
			path = ""
			if page.NextCursor != "" {
				path = "/orders/history?limit=2&cursor=" + url.QueryEscape(page.NextCursor)
			}
		}
		return orders, pages
	}
	equal := func() bool {
		got, _ := history()
		return len(got) == len(want) && decidedOf(got) == decidedOf(want)
	}
	require.Eventually(t, equal, patience, 20*time.Millisecond)
	got, pages := history()
	require.Equal(t, want, got)
	require.Equal(t, 3, pages)
	require.Eventually(t, func() bool {
		return len(get[gateway.Orders](t, s, 200, call{path: "/orders/history", as: bob}).Orders) == 1
	}, patience, 20*time.Millisecond)
	require.Empty(t, s.orders.Messages(), "nobody was asked")

	rebuild()
	require.Eventually(t, equal, patience, 20*time.Millisecond)
	got, _ = history()
	require.Equal(t, want, got)
	get[problem](t, s, 401, call{path: "/orders/history"})
	p := get[problem](t, s, 400, call{path: "/orders/history?cursor=nothing", as: ada})
	require.Equal(t, "cursor", p.Errors[0].Field)
}

// decidedOf counts the orders that are final.
func decidedOf(orders []gateway.Order) (n int) {
	for _, o := range orders {
		if o.DecidedAt != nil {
			n++
		}
	}
	return n
}

// What became of an order may be heard of before the order itself. Nobody sees it until then.
func TestHistoryWithoutTheOrder(t *testing.T) {
	t.Parallel()
	remembered, err := gateway.OpenStore(t.Context(), shoptest.Source(t, "gateway"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, remembered.Close()) })
	conn, client := connect(t, leverettest.Broker(t))
	require.NoError(t, queues.OrderCancelled.Publish(t.Context(), client, queues.OrderCancelledEvent{
		OrderID: uuid.NewString(), Reason: queues.CancelDeclined, CancelledAt: time.Now(),
	}))
	runHistory(t, conn, remembered)
	var state, customer string
	require.Eventually(t, func() bool {
		err := remembered.Reader().QueryRowContext(t.Context(), "SELECT state, customer_id FROM order_history").Scan(&state, &customer)
		if err != nil {
			require.ErrorIs(t, err, sql.ErrNoRows)
		}
		return err == nil
	}, patience, 20*time.Millisecond)
	require.Equal(t, "cancelled", state)
	require.Empty(t, customer)
}
