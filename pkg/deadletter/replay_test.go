package deadletter_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

func TestReplayGivesBackAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 100, nil)
	var told []string
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{Done: func(l *deadletter.Letter, err error) {
		require.NoError(t, err)
		told = append(told, l.ID)
	}})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: 100, Matched: 100, Replayed: 100}, result)
	require.Equal(t, ids(100), told)
	b.waitFor(names.DeadLetterQueue(queue), 0)
	got := b.take(queue)
	require.Equal(t, ids(100), idsOf(got))
	require.JSONEq(t, `{"n":7}`, string(got[7].Body))
	require.Equal(t, queue, got[7].Type)
	require.Equal(t, rabbit.Table{
		"leveret-first-failed-at": "2026-01-02T15:00:00Z", "leveret-conversation-id": "c", "leveret-replayed": int64(1), "mine": "kept",
	}, got[7].Headers)
}

func TestReplayReachesOneSubscriberOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	events := topology.Exchange{Name: names.EventExchange("order"), Type: topology.Topic}
	failed, other := names.SubscriptionQueue("payment", "", "order.placed"), names.SubscriptionQueue("fraud", "", "order.placed")
	b.declare(names.Work("payment", events, "order.placed", failed))
	b.declare(names.Work("fraud", events, "order.placed", other))
	b.bury(failed, 3, nil)
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(failed), deadletter.Replay{})
	require.NoError(t, err)
	require.Equal(t, 3, result.Replayed)
	require.Equal(t, ids(3), idsOf(b.take(failed)))
	require.Empty(t, b.take(other))
}

func TestReplaySelects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 20, nil)
	even := func(l *deadletter.Letter) bool { return (l.ID[len(l.ID)-1]-'0')%2 == 0 }

	seen := 0
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{Select: even, DryRun: true, Done: func(*deadletter.Letter, error) { seen++ }})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: 20, Matched: 10}, result)
	require.Equal(t, 10, seen)
	b.waitFor(names.DeadLetterQueue(queue), 20)
	b.waitFor(queue, 0)

	waited := 0
	result, err = b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{Select: even, Limit: 4, Wait: func(context.Context) error {
		waited++
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: 7, Matched: 4, Replayed: 4}, result)
	require.Equal(t, 4, waited)
	require.Equal(t, []string{id(0), id(2), id(4), id(6)}, idsOf(b.take(queue)))
	b.waitFor(names.DeadLetterQueue(queue), 16)
	require.ElementsMatch(t, append(ids(20)[7:], id(1), id(3), id(5)), b.peek(20))
}

// What is not selected is held by several channels, and goes back in its order.
func TestReplaySelectsAmongThousands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 8000
	b.bury(queue, n, nil)
	var taken, left []string
	for i, id := range ids(n) {
		if i%3 == 1 {
			taken = append(taken, id)
		} else {
			left = append(left, id)
		}
	}
	i := -1
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{Select: func(*deadletter.Letter) bool { i++; return i%3 == 1 }})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: n, Matched: len(taken), Replayed: len(taken)}, result)
	require.Equal(t, left, b.peek(n))
	require.Equal(t, taken, b.peekAt(deadletter.Source{Name: queue, Queue: queue}, n))
}

func TestReplayTakesNoLetterTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 40, nil)
	fails := func(l *deadletter.Letter, err error) { // again, at once, while the replay runs
		require.NoError(t, err)
		require.NoError(t, b.publisher.Publish(b.ctx, &rabbit.Publication{
			Exchange: names.DeadLetterExchange("inventory"), RoutingKey: queue, Mandatory: true,
			Publishing: rabbit.Publishing{MessageId: "again-" + l.ID},
		}))
	}
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{Done: fails})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: 40, Matched: 40, Replayed: 40}, result)
	b.waitFor(names.DeadLetterQueue(queue), 40)
}

func TestReplayToAQueueThatIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 40, nil)
	channel, err := b.conn.Rabbit().Channel(b.ctx)
	require.NoError(t, err)
	_, err = channel.QueueDelete(queue, false, false, false)
	require.NoError(t, err)
	require.NoError(t, channel.Close())
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{})
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.Equal(t, deadletter.Result{Seen: 1, Matched: 1, Failed: 1}, result)
	b.waitFor(names.DeadLetterQueue(queue), 40)
	require.Equal(t, ids(40), b.peek(40))
}

// A user who may not write to the default exchange, from where every queue can be reached, may replay all the same.
func TestReplayWithoutTheDefaultExchange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 5, nil)
	store := deadletter.New(b.dial(b.user("^retry\\.return$")))
	result, err := store.Replay(b.ctx, store.DeadLetters(queue), deadletter.Replay{})
	require.NoError(t, err)
	require.Equal(t, 5, result.Replayed)
	require.Equal(t, ids(5), idsOf(b.take(queue)))

	b.bury(queue, 5, nil)
	store = deadletter.New(b.dial(b.user("^$")))
	result, err = store.Replay(b.ctx, store.DeadLetters(queue), deadletter.Replay{})
	require.ErrorIs(t, err, rabbit.ErrRefused)
	require.Equal(t, deadletter.Result{Seen: 1, Matched: 1, Failed: 1}, result)
	b.waitFor(names.DeadLetterQueue(queue), 5)
}

// In the isolated layout such a user needs the way back of the queue's service, and reaches no other service's queues.
// The service is the one that the queue's name begins with, unless the caller knows better.
func TestReplayWithoutTheDefaultExchangeInTheIsolatedLayout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := topology.Names{Namespace: "blue", Layout: topology.Isolated}
	commands := topology.Exchange{Name: n.CommandExchange("inventory"), Type: topology.Direct}
	release := n.ContractQueue("inventory.release")
	b.declare(n.Work("inventory", commands, release, release))
	b.declare(n.Work("inventory", commands, "legacy", "LegacyQueue"))
	letters := deadletter.New(b.dial(b.user("^blue\\.retry\\.inventory\\.return$"), n))
	for queue, service := range map[string]string{release: "", "LegacyQueue": "inventory"} {
		b.buryAt(n.DeadLetterExchange("inventory"), queue, 5, nil)
		from := letters.DeadLetters(queue)
		from.Service = cmp.Or(service, from.Service)
		result, err := letters.Replay(b.ctx, from, deadletter.Replay{})
		require.NoError(t, err)
		require.Equal(t, 5, result.Replayed)
		require.Equal(t, ids(5), idsOf(b.take(queue)))
	}

	b.buryAt(n.DeadLetterExchange("inventory"), release, 5, nil)
	letters = deadletter.New(b.dial(b.user("^blue\\.retry\\.payment\\.return$"), n))
	result, err := letters.Replay(b.ctx, letters.DeadLetters(release), deadletter.Replay{})
	require.ErrorIs(t, err, rabbit.ErrRefused)
	require.Equal(t, deadletter.Result{Seen: 1, Matched: 1, Failed: 1}, result)
	b.waitFor(n.DeadLetterQueue(release), 5)
}

// user makes one who may configure and read everything, and write to what the pattern names.
func (b *bench) user(write string) string {
	b.t.Helper()
	vhost := leverettest.VHost(b.t, b.url)
	name := strings.ToLower(rand.Text()) + "-" + vhost
	manage(b.t, http.MethodPut, map[string]string{"password": "secret", "tags": ""}, "users", name)
	b.t.Cleanup(func() { manage(b.t, http.MethodDelete, nil, "users", name) })
	manage(b.t, http.MethodPut, map[string]string{"configure": ".*", "write": write, "read": ".*"}, "permissions", vhost, name)
	u, err := url.Parse(b.url)
	require.NoError(b.t, err)
	u.User = url.UserPassword(name, "secret")
	return u.String()
}

// manage makes one request to the management API.
func manage(tb testing.TB, method string, body any, path ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	api, err := leverettest.Node(tb).Management()
	require.NoError(tb, err)
	require.NoError(tb, api.Call(ctx, method, body, nil, path...))
}

func TestTwoReplaysAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 300, nil)
	results, errs := make([]deadletter.Result, 3), make([]error, 3)
	replay := func(i int) {
		results[i], errs[i] = b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{})
	}
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() { replay(i) })
	}
	both.Wait()
	replay(2) // for what took long to reach either of them
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, 300, results[0].Replayed+results[1].Replayed+results[2].Replayed)
	b.waitFor(names.DeadLetterQueue(queue), 0)
	got := idsOf(b.take(queue))
	slices.Sort(got)
	require.Equal(t, ids(300), got)
}

func TestInterruptedReplayLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 1500, nil)
	ctrlC := errors.New("Ctrl-C")
	ctx, cancel := context.WithCancelCause(b.ctx)
	n := 0
	result, err := b.store.Replay(ctx, b.store.DeadLetters(queue), deadletter.Replay{Done: func(*deadletter.Letter, error) {
		if n++; n == 500 {
			cancel(ctrlC)
		}
	}})
	require.ErrorIs(t, err, ctrlC)
	require.Equal(t, result.Matched, result.Replayed)
	require.GreaterOrEqual(t, result.Replayed, 500)
	require.Less(t, result.Replayed, 1500)
	b.waitFor(names.DeadLetterQueue(queue), 1500-result.Replayed)
	back, left := idsOf(b.take(queue)), idsOf(b.take(names.DeadLetterQueue(queue)))
	require.ElementsMatch(t, ids(1500)[:result.Replayed], back)
	require.ElementsMatch(t, ids(1500)[result.Replayed:], left)
}

func TestReplayInterruptedWhileItWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 5, nil)
	ctx, cancel := context.WithCancel(b.ctx)
	result, err := b.store.Replay(ctx, b.store.DeadLetters(queue), deadletter.Replay{Wait: func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, deadletter.Result{Seen: 1}, result)
	b.waitFor(names.DeadLetterQueue(queue), 5)
}

func TestInterruptedRemovalLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 1500, nil)
	ctx, cancel := context.WithCancel(b.ctx)
	n := 0
	result, err := b.store.Remove(ctx, b.store.DeadLetters(queue), deadletter.Replay{
		Select: func(l *deadletter.Letter) bool { return l.ID != id(3) },
		Done: func(*deadletter.Letter, error) {
			if n++; n == 500 {
				cancel()
			}
		},
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, deadletter.Result{Seen: 501, Matched: 500, Replayed: 500}, result)
	b.waitFor(names.DeadLetterQueue(queue), 1000)
	require.ElementsMatch(t, append(ids(1500)[501:], id(3)), idsOf(b.take(names.DeadLetterQueue(queue))))
}

// A command that is killed looks the same to the broker.
func TestLostConnectionLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const due = time.Hour
	b.declare(names.RetryTiers("inventory", due))
	b.bury(queue, 1500, nil)
	for _, from := range []deadletter.Source{b.store.DeadLetters(queue), b.store.RetryTier("inventory", due)} {
		if from.Queue == "" {
			b.fill(from.Name, queue, 1500, nil)
		}
		proxied, cut := throughProxy(t, b.url)
		store := deadletter.New(b.dial(proxied))
		n := 0
		result, err := store.Replay(b.ctx, from, deadletter.Replay{Done: func(*deadletter.Letter, error) {
			if n++; n == 1200 {
				cut()
			}
		}})
		require.ErrorIs(t, err, rabbit.ErrNotConnected)
		require.NotErrorIs(t, err, context.Canceled)
		b.checkNothingIsLost(from.Name, result, 1500)
	}
}

// Where each letter awaits its turn, few are in doubt.
func TestLostConnectionOfAPacedReplay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 400
	b.bury(queue, n, nil)
	proxied, cut := throughProxy(t, b.url)
	store := deadletter.New(b.dial(proxied))
	waits := 0
	result, err := store.Replay(b.ctx, store.DeadLetters(queue), deadletter.Replay{Wait: func(context.Context) error {
		if waits++; waits == 300 {
			cut()
		}
		return nil
	}})
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.LessOrEqual(t, result.Unsure, 64, "%+v", result)
	b.checkNothingIsLost(names.DeadLetterQueue(queue), result, n)
}

func killedBrokerLosesNothing(t *testing.T, node *devbroker.Broker) {
	t.Helper()
	url, err := node.VHost(t.Context(), "death")
	require.NoError(t, err)
	b := on(t, url)
	b.bury(queue, 1500, nil)
	n := 0
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{Done: func(*deadletter.Letter, error) {
		if n++; n == 1000 {
			require.NoError(t, node.Kill())
		}
	}})
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.NoError(t, node.Start(b.ctx))
	b.checkNothingIsLost(names.DeadLetterQueue(queue), result, 1500)
}

// checkNothingIsLost finds every message in its queue or where it was, and in both only where the result says
// that it may be.
func (b *bench) checkNothingIsLost(from string, r deadletter.Result, n int) {
	b.t.Helper()
	require.Equal(b.t, r.Matched, r.Replayed+r.Failed+r.Unsure)
	require.Positive(b.t, r.Replayed)
	require.Less(b.t, r.Replayed, n)
	back, left := map[string]bool{}, map[string]bool{}
	var missing []string
	// The broker notices late that a connection is gone, and keeps its messages so long. And a queue that just started
	// may have no leader yet.
	require.Eventually(b.t, func() bool {
		for name, found := range map[string]map[string]bool{queue: back, from: left} {
			all, err := b.tryTake(name)
			for _, d := range all {
				found[d.MessageId] = true
			}
			if err != nil {
				return false
			}
		}
		missing = slices.DeleteFunc(ids(n), func(id string) bool { return back[id] || left[id] })
		return len(missing) == 0
	}, patience, 50*time.Millisecond, "lost: %v", missing)
	both, done := 0, 0
	for id := range back {
		if left[id] {
			both++
		} else {
			done++
		}
	}
	require.LessOrEqual(b.t, both, r.Unsure, "%+v", r)
	require.GreaterOrEqual(b.t, done, r.Replayed, "%+v", r)
	require.LessOrEqual(b.t, done, r.Replayed+r.Unsure, "%+v", r)
}

// throughProxy returns a way to the broker that can be cut.
func throughProxy(t *testing.T, address string) (proxied string, cut func()) {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "broker", "127.0.0.1:0", u.Host)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	u.Host = proxy.Listen
	return u.String(), proxy.Stop
}
