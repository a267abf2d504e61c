package docs_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

type reservation struct {
	SKU   string `json:"sku"`
	Count int    `json:"count"`
}

// partitions are the queues that take a contract's place, each for a part of the keys.
var partitions = []*leveret.Command[reservation]{
	leveret.NewCommand[reservation]("inventory.reserve-0"),
	leveret.NewCommand[reservation]("inventory.reserve-1"),
	leveret.NewCommand[reservation]("inventory.reserve-2"),
}

func partition(key string) *leveret.Command[reservation] {
	h := fnv.New32a()
	h.Write([]byte(key))
	return partitions[h.Sum32()%uint32(len(partitions))]
}

// TestPartitions: what docs/scale.md says of partitions: each key has one queue, and there its messages keep their order.
func TestPartitions(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{leverettest.Broker(t)}})
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(ctx))

	all := []leveret.Contract{partitions[0], partitions[1], partitions[2]}
	client, err := leveret.NewClient(conn, leveret.NewService("order", leveret.Sends(all...)), leveret.ClientConfig{})
	require.NoError(t, err)
	defer client.Close(context.WithoutCancel(ctx))
	const keys, each = 12, 10
	for count := range each {
		for key := range keys {
			r := reservation{SKU: fmt.Sprintf("sku-%d", key), Count: count}
			require.NoError(t, partition(r.SKU).Send(ctx, client, r))
		}
	}

	var mu sync.Mutex
	got, queues, left := map[string][]int{}, map[string]bool{}, keys*each
	working, stop := context.WithCancel(ctx)
	defer stop()
	handlers := leveret.NewHandlers(leveret.NewService("inventory", leveret.Handles(all...)), leveret.HandlersConfig{})
	for _, p := range partitions {
		p.Handle(handlers, func(_ context.Context, r reservation) error {
			mu.Lock()
			defer mu.Unlock()
			got[r.SKU] = append(got[r.SKU], r.Count)
			queues[p.Spec().Name] = true
			if left--; left == 0 {
				stop()
			}
			return nil
		})
	}
	worker, err := leveret.NewWorker(conn, handlers, leveret.WorkerConfig{Concurrency: 1})
	require.NoError(t, err)
	require.NoError(t, worker.Run(working))
	require.NoError(t, ctx.Err())
	require.Len(t, got, keys)
	for sku, counts := range got {
		require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, counts, sku)
	}
	require.Len(t, queues, len(partitions), "the keys are spread over all queues")
}
