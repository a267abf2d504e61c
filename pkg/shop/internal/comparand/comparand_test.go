package comparand

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/measure"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

// handlers returns those of a receiver, and the folder of its files.
func handlers(t *testing.T, stores bool) (*leveret.Handlers, string) {
	t.Helper()
	dir := t.TempDir()
	log, err := measure.OpenEffectLog(filepath.Join(dir, "one.effects"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	w := &work{log: log}
	if stores {
		s, err := payment.OpenStore(t.Context(), filepath.Join(dir, "store.db"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		w.payment = payment.New(s, nil, payment.Processor{})
	}
	h := leveret.NewHandlers(Receiver, leveret.HandlersConfig{})
	w.register(h)
	require.NoError(t, h.Err())
	return h, dir
}

// askAll asks for operations in all ways, each once, and once more under the same id.
func askAll(t *testing.T, h *leveret.Handlers) (ids []string) {
	t.Helper()
	for range 3 {
		ids = append(ids, uuid.Must(uuid.NewV7()).String())
	}
	for range 2 {
		got := leverettest.Call(t.Context(), h, queues.AuthorizePayment, Order(ids[0]), leverettest.With(leveret.MessageID(ids[0])))
		require.NoError(t, got.Err)
		require.NoError(t, got.Reply.Validate())
		command := leverettest.Deliver(t.Context(), h, PlaceOrder, Order(ids[1]), leverettest.With(leveret.MessageID(ids[1])))
		require.Equal(t, leveret.VerdictAck, command.Verdict, "%v", command.Err)
		event := leverettest.Deliver(t.Context(), h, OrderPlaced, Order(ids[2]), leverettest.With(leveret.MessageID(ids[2])))
		require.Equal(t, leveret.VerdictAck, event.Verdict, "%v", event.Err)
	}
	return ids
}

func count(effects []measure.Effect) map[string]int {
	counts := make(map[string]int)
	for _, e := range effects {
		counts[e.ID]++
	}
	return counts
}

func TestNothingIsDoneEveryTime(t *testing.T) {
	t.Parallel()
	h, dir := handlers(t, false)
	ids := askAll(t, h)
	effects, err := measure.NewEffectReader(filepath.Join(dir, "*.effects")).Effects(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{ids[0]: 2, ids[1]: 2, ids[2]: 2}, count(effects))
}

func TestStoreDoesItOnce(t *testing.T) {
	t.Parallel()
	h, dir := handlers(t, true)
	source := NewStoreEffects(filepath.Join(dir, "store.db"), filepath.Join(dir, "*.effects"))
	before := time.Now()
	ids := askAll(t, h)
	effects, err := source.Effects(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{ids[0]: 1, ids[1]: 1, ids[2]: 1}, count(effects))
	for _, e := range effects {
		require.False(t, e.At.Before(before))
	}
	again, err := source.Effects(t.Context())
	require.NoError(t, err)
	require.Empty(t, again)
}

// An effect counts although the process was killed before it could record that it is complete.
func TestStoreWithoutLog(t *testing.T) {
	t.Parallel()
	h, dir := handlers(t, true)
	source := NewStoreEffects(filepath.Join(dir, "store.db"), filepath.Join(dir, "*.lost"))
	ids := askAll(t, h)
	var effects []measure.Effect
	require.Eventually(t, func() bool {
		more, err := source.Effects(t.Context())
		require.NoError(t, err)
		effects = append(effects, more...)
		return len(effects) == len(ids)
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, map[string]int{ids[0]: 1, ids[1]: 1, ids[2]: 1}, count(effects))
}

// The delay is set while it runs, and ends with the caller's patience.
func TestDelay(t *testing.T) {
	t.Parallel()
	h, _ := handlers(t, false)
	set := leverettest.Call(t.Context(), h, SetDelay, Delay{Milliseconds: time.Hour.Milliseconds()})
	require.NoError(t, set.Err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Error(t, leverettest.Call(ctx, h, queues.AuthorizePayment, Order(uuid.NewString())).Err)
}
