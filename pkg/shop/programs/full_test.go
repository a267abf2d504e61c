package programs_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/inventory"
	"github.com/leveretmq/leveret/pkg/shop/programs"
	"github.com/leveretmq/leveret/queues"
)

// readyz asks a program whether it is ready.
func readyz(t *testing.T, r ready) (status int, body string) {
	t.Helper()
	return get(t, "http://"+r.Health+"/readyz")
}

// get returns what is at a URL.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

// TestStoresAreRequired: every program with a store is not ready while the store cannot be written, and says why.
func TestStoresAreRequired(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	for _, p := range programs.All() {
		t.Run(p.Service.Name(), func(t *testing.T) {
			t.Parallel()
			dir, log := t.TempDir(), newOutput()
			p.Overrides = map[string]string{"broker.url": broker, "data.dir": dir, "health.address": "127.0.0.1:0", "log.format": "json"}
			for _, key := range []string{"http.address", "grpc.address"} {
				if p.Defaults[key] != "" {
					p.Overrides[key] = "127.0.0.1:0"
				}
			}
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan int, 1)
			go func() { ended <- p.Run(ctx, nil, io.Discard, log) }()
			t.Cleanup(func() { end(); require.Equal(t, 0, <-ended, "%s", log) })
			r := log.await(t.Context(), t)
			file := filepath.Join(dir, p.Service.Name()+".db")
			require.NoError(t, os.Rename(file, file+".away"))
			require.Eventually(t, func() bool {
				status, body := readyz(t, r)
				return status == http.StatusServiceUnavailable && strings.Contains(body, "store: its file is gone")
			}, time.Minute, 20*time.Millisecond)
			require.NoError(t, os.Rename(file+".away", file))
			require.Eventually(t, func() bool { status, _ := readyz(t, r); return status == http.StatusOK }, time.Minute, 20*time.Millisecond)
		})
	}
}

// TestFullDisk: the file of the inventory service cannot grow in the midst of the work. The commands stay in their queue,
// none fails, and none is lost or done twice when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	dir, log := t.TempDir(), newOutput()
	var s *inventory.Store
	opened := make(chan struct{})
	p := service.Program{Service: queues.Inventory, Outbox: true, Setup: func(ctx context.Context, rt *service.Runtime) (err error) {
		if s, err = inventory.OpenStore(ctx, rt.DatabaseSource); err != nil {
			return err
		}
		rt.Close("store", s.Close)
		rt.Required("store", s.Writable)
		o, err := s.Outbox(ctx, outbox.Config{Logger: rt.Logger})
		if err != nil {
			return err
		}
		rt.Relay(o)
		inventory.New(o).Register(rt.Handlers)
		close(opened)
		return nil
	}, Overrides: map[string]string{"broker.url": broker, "data.dir": dir, "health.address": "127.0.0.1:0", "log.format": "json", "worker.prefetch": "32"}}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- p.Run(ctx, nil, io.Discard, log) }()
	t.Cleanup(func() { end(); require.Equal(t, 0, <-ended, "%s", log) })
	r := log.await(t.Context(), t)
	<-opened
	grow := func(pages int) { // 1 means no more than it has
		require.NoError(t, s.InTx(t.Context(), func(tx *sql.Tx) error {
			return tx.QueryRowContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(new(int))
		}))
	}

	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	client, err := leveret.NewClient(conn, leveret.NewService("tester", leveret.Sends(queues.ReserveStock)), leveret.ClientConfig{})
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close(t.Context())) }()
	const n = 600
	send := func(n int) {
		for range n {
			id := uuid.Must(uuid.NewV7()).String()
			require.NoError(t, queues.ReserveStock.Send(t.Context(), client, queues.ReserveStockCommand{OrderID: id, Lines: []queues.StockLine{{SKU: "TEA-GREEN", Quantity: 1}}}))
		}
	}
	send(100)
	grow(1)
	send(n - 100)
	require.Eventually(t, func() bool {
		status, body := readyz(t, r)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "database or disk is full")
	}, time.Minute, 10*time.Millisecond)
	path := filepath.Join(dir, "inventory.db")
	audit := func() inventory.Audit {
		a, err := inventory.ReadAudit(t.Context(), path)
		require.NoError(t, err)
		return a
	}
	foreign, err := amqp.Dial(broker)
	require.NoError(t, err)
	defer foreign.Close()
	ch, err := foreign.Channel()
	require.NoError(t, err)
	waiting := func(queue string) int {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		require.NoError(t, err)
		return q.Messages
	}
	require.Eventually(t, func() bool { return len(audit().Reservations)+waiting("inventory.reserve") == n }, time.Minute, 10*time.Millisecond)
	t.Log("done before:", len(audit().Reservations))
	require.Less(t, len(audit().Reservations), n)
	for _, queue := range []string{"retry.1s", "retry.10s", "retry.1m", "retry.10m", "inventory.reserve.dlq"} {
		require.Zero(t, waiting(queue), queue)
	}

	grow(1 << 30)
	require.Eventually(t, func() bool {
		return len(audit().Reservations) == n && audit().Unsent == 0 && waiting("inventory.reserve") == 0
	}, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { status, _ := readyz(t, r); return status == http.StatusOK }, time.Minute, 10*time.Millisecond)
	a := audit()
	require.Empty(t, a.Misplaced())
	for id, goods := range a.Goods() {
		require.Equal(t, inventory.Goods{Taken: 1, Held: map[string]int64{"TEA-GREEN": 1}}, goods, id)
	}
	require.Zero(t, waiting("inventory.reserve.dlq"))
}
