//go:build postgres

package order

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

// The id of a message is any text.
func TestAnyID(t *testing.T) {
	t.Parallel()
	b, r := setup(t), request()
	got := leverettest.Deliver(t.Context(), b.handlers, queues.PlaceOrder, r, leverettest.With(leveret.MessageID("m\x00")))
	require.NoError(t, got.Err)
	require.NoError(t, got.Again(t.Context()).Err)
	require.Equal(t, []string{"order.placed", "inventory.reserve"}, shoptest.Names(b.messages(t)))
}
