//go:build cluster && unix

package programs_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	orders "github.com/leveretmq/leveret/pkg/shop/order"
)

// rounds is how many more nodes TestCluster kills, one each minute. It is read before TestMain clears the environment.
var rounds, _ = strconv.Atoi(os.Getenv("LEVERET_CLUSTER_ROUNDS"))

// patience is for what takes seconds on an idle machine.
const patience = 2 * time.Minute

// TestCluster: the nodes of a cluster of three are restarted, one after the other, and then each of them is killed, while
// customers order and programs make calls. No order is lost, none has its effect twice, and every call is answered, or
// fails with a code that says why.
func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	var urls []string
	for _, b := range nodes {
		urls = append(urls, b.URL())
	}
	s := run(t, strings.Join(urls, ","), map[string]string{
		"broker.request_queue_type": "quorum", "auth.access_ttl": "1h", "log.level": "info",
		"client.reply_queue": "true", "gateway.transport": "amqp", "order.payment.transport": "amqp", "user.auth.transport": "amqp",
	})
	l := startLoad(t, s, urls)
	more := func() { // orders are decided now, not just later
		before := -1
		require.Eventually(t, func() bool {
			n, err := orders.CountDecided(t.Context(), s.store("order"))
			if err == nil && before < 0 {
				before = n
			}
			return err == nil && n >= before+10
		}, patience, 20*time.Millisecond)
	}
	back := func(b *devbroker.Broker) {
		require.NoError(t, b.Start(t.Context()))
		for _, b := range nodes {
			awaitSpare(t, b)
		}
		l.say(t, "%s is back, and the cluster can spare each node again", b.About().Node)
	}

	more()
	for _, b := range nodes {
		l.say(t, "%s stops", b.About().Node)
		require.NoError(t, b.Stop(t.Context()))
		more()
		back(b)
	}
	kill := func(b *devbroker.Broker) {
		more()
		l.say(t, "%s is killed", b.About().Node)
		require.NoError(t, b.Kill())
		more()
		back(b)
	}
	for _, b := range nodes {
		kill(b)
	}
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for i := range rounds {
		<-minute.C
		kill(nodes[i%len(nodes)])
	}
	more()
	accepted := l.stop(t)

	var last ledger.Ledger
	paths := ledger.Paths{Order: s.store("order"), Inventory: s.store("inventory"), Payment: s.store("payment")}
	require.Eventually(t, func() bool {
		read, err := ledger.Read(t.Context(), paths, accepted)
		if err == nil {
			last = read
		}
		return err == nil && read.OK() && read.Confirmed == len(accepted)
	}, 2*patience, 50*time.Millisecond, "%+v", &last)
	require.Equal(t, len(accepted), last.Orders)
	t.Logf("RabbitMQ %s: %d orders, all confirmed; p50 %s, p99 %s, max %s",
		nodes[0].Version(), last.Orders, last.Latency.P50, last.Latency.P99, last.Latency.Max)
}

// store is the path of a service's store.
func (s *system) store(name string) string { return filepath.Join(s.dir, name, name+".db") }

// startCluster starts three nodes.
func startCluster(t *testing.T) (nodes []*devbroker.Broker) {
	t.Helper()
	cfg := devbroker.Config{Private: true}
	for range 3 {
		b, err := devbroker.Start(t.Context(), cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close(context.Background())) })
		nodes, cfg.Join = append(nodes, b), b
	}
	return nodes
}

// awaitSpare waits until a node may be stopped: each of its quorum queues has then enough other members that run.
func awaitSpare(t *testing.T, b *devbroker.Broker) {
	t.Helper()
	api, err := b.Management()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		err = api.Call(t.Context(), http.MethodGet, nil, nil, "health", "checks", "node-is-quorum-critical")
		return err == nil
	}, patience, 100*time.Millisecond, "%v", &err)
}
