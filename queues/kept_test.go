package queues_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// What was kept is read for a year, by whatever is the newest version then. So the recorded bytes stay as they are: a change
// that they do not survive needs leveret.Older, and new bytes get new files.
func TestKeptBytes(t *testing.T) {
	t.Parallel()
	const order, authorization = "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41", "0197a6c4-5a10-7b44-9f0e-2c6d1e8a7b93"
	at := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	total := queues.Money{Amount: 1998, Currency: "EUR"}
	decodes(t, queues.OrderPlaced, "order.placed-1", queues.OrderPlacedEvent{
		OrderID: order, CustomerID: "customer-7", Total: total, AuthorizationID: authorization, PlacedAt: at,
		Lines: []queues.OrderLine{{SKU: "TEA-GREEN", Quantity: 2, UnitPrice: queues.Money{Amount: 999, Currency: "EUR"}}},
	})
	decodes(t, queues.OrderConfirmed, "order.confirmed-1", queues.OrderConfirmedEvent{OrderID: order, Total: total, ConfirmedAt: at})
	decodes(t, queues.OrderCancelled, "order.cancelled-1", queues.OrderCancelledEvent{
		OrderID: order, Reason: queues.CancelOutOfStock, CancelledAt: at,
	})
}

func decodes[T any](t *testing.T, e *leveret.Event[T], file string, want T) {
	t.Helper()
	body, err := os.ReadFile("testdata/kept/" + file + ".json")
	require.NoError(t, err)
	got, err := e.Decode(body)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
