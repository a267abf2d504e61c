//go:build postgres

package programs_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/pgtest"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	orders "github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/queues"
)

// The services have one database, each with a schema of its own, and its server is killed in the midst of their work,
// again and again. Nothing is lost, and nothing is done twice.
func TestDatabaseIsKilled(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	database := server.URL("postgres")
	broker := leverettest.Broker(t)
	run(t, broker, map[string]string{"database.url": database})
	source := func(service string) string {
		return config.Config{Database: config.Database{URL: database}}.DatabaseSource(service, "")
	}

	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	client, err := leveret.NewClient(conn, leveret.NewService("tester", leveret.Sends(queues.PlaceOrder)), leveret.ClientConfig{})
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close(t.Context())) }()
	const n = 150
	var sent []string
	for range n {
		id := uuid.Must(uuid.NewV7()).String()
		require.NoError(t, queues.PlaceOrder.Send(t.Context(), client, queues.PlaceOrderCommand{
			OrderID: id, CustomerID: "c-1", CardToken: "tok_visa",
			Lines: []queues.OrderLine{{SKU: "TEA-GREEN", Quantity: 1, UnitPrice: queues.Money{Amount: 999, Currency: "EUR"}}},
		}))
		sent = append(sent, id)
	}
	for i := range 3 {
		require.Eventually(t, func() bool {
			decided, err := orders.CountDecided(t.Context(), source("order"))
			return err == nil && decided >= (i+1)*n/5
		}, 2*time.Minute, 10*time.Millisecond)
		require.NoError(t, server.Kill())
	}
	var last ledger.Ledger
	require.Eventually(t, func() bool {
		l, err := ledger.Read(t.Context(), ledger.Paths{Order: source("order"), Inventory: source("inventory"), Payment: source("payment")}, sent)
		if err == nil {
			last = l
		}
		return err == nil && l.OK() && l.Confirmed == n
	}, 4*time.Minute, 50*time.Millisecond, "%+v", &last)
	require.Equal(t, n, last.Orders)
}
