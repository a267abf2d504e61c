package docs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// One queue of theirs holds two kinds of messages, which their programs tell apart by type.
var (
	PlaceOrder  = leveret.NewCommand[Order]("orders.place", leveret.At(inOrders("order_placed")))
	CancelOrder = leveret.NewCommand[Order]("orders.cancel", leveret.At(inOrders("order_cancelled")))
)

func inOrders(kind string) leveret.Address {
	return leveret.Address{Queue: "orders", External: true, Type: kind}
}

// ShipParcel is a command of theirs, in a queue with a dead-letter exchange of its own.
var ShipParcel = leveret.NewCommand[Order]("parcels.ship", leveret.At(leveret.Address{
	Queue: "parcels", External: true, DeadLetterQueue: "parcels-failed",
	Topology: topology.Topology{
		Exchanges: []topology.Exchange{{Name: "failed", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "parcels", Args: map[string]any{"x-dead-letter-exchange": "failed"}}, {Name: "parcels-failed"}},
		Bindings:  []topology.Binding{{Exchange: "failed", Queue: "parcels-failed"}},
	},
}))

// Order is what the shop of theirs knows of an order.
type Order struct {
	OrderID string `json:"order_id"`
}

// What the page shows has no mistakes, and needs no dead-letter queue of ours where they have their own. That it works is
// tested in pkg/leveret, with plain programs on the other side.
func TestTheirQueues(t *testing.T) {
	t.Parallel()
	service := leveret.NewService("desk", leveret.Handles(PlaceOrder, CancelOrder, ShipParcel))
	require.NoError(t, leveret.NewCatalog(service).Err())
	var queues []string
	for _, q := range service.Topology(topology.Names{}, topology.Classic).Queues {
		queues = append(queues, q.Name)
	}
	require.Contains(t, queues, "orders.dlq")
	require.Contains(t, queues, "parcels-failed")
	require.NotContains(t, queues, "parcels.dlq")
}
