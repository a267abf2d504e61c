//go:build postgres

package inventory

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/queues"
)

// What PostgreSQL cannot hold becomes a dead letter at once, and is not tried again and again.
func TestTextThatPostgresRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q := reservation(queues.StockLine{SKU: SKUPlenty, Quantity: 1})
	got := leverettest.Deliver(t.Context(), b.handlers, queues.ReserveStock, q, leverettest.With(leveret.MessageID("m\x00")))
	require.ErrorIs(t, got.Err, leveret.InvalidArgument)
	require.ErrorContains(t, got.Err, "22021")
	require.Equal(t, leveret.VerdictDeadLetter, got.Verdict)
}
