package service_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
)

// disk is what the handlers of these tests write to.
type disk struct {
	mu      sync.Mutex
	full    error
	written map[int]int
	retried int // writes for messages that have been in a retry tier
}

func (d *disk) fill(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = err
}

func (d *disk) write(ctx context.Context, u unit) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if leveret.MessageFrom(ctx).Attempt > 1 {
		d.retried++
	}
	if d.full == nil {
		d.written[u.N]++
	}
	return d.full
}

func (d *disk) check(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// peer is a channel of the driver.
func peer(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

// waiting returns how many messages a queue holds that nobody has.
func waiting(t *testing.T, ch *amqp.Channel, queue string) int {
	t.Helper()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(t, err)
	return q.Messages
}

// TestRequired: while a required check fails, the worker takes no messages, and every message stays in its queue: also
// those that fail first. The program is not ready, and says why. Afterwards each is handled once.
func TestRequired(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	broker := peer(t, url)
	d := &disk{written: map[int]int{}}
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		do.Handle(rt.Handlers, d.write)
		ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
		rt.Required("store", d.check)
		return nil
	}}, map[string]string{"broker.url": url})
	r.log.await(t, "ready")

	d.fill(errors.New("no space left on device"))
	const n = 200
	for i := range n {
		require.NoError(t, do.Send(t.Context(), rt.Client, unit{i}))
	}
	failed := r.log.await(t, "a required check fails; taking no messages until it succeeds")
	require.Equal(t, "store: no space left on device", failed["error"])
	status, body := r.get(t, "/readyz")
	require.Equal(t, 503, status)
	require.Equal(t, "store: no space left on device\npaused: store: no space left on device\n", body)
	require.Eventually(t, func() bool { return waiting(t, broker, "unit.do") == n }, 2*time.Minute, 10*time.Millisecond)
	for _, queue := range []string{"retry.1s", "retry.10s", "retry.1m", "retry.10m", "unit.do.dlq"} {
		require.Zero(t, waiting(t, broker, queue), queue)
	}
	status, _ = r.get(t, "/healthz")
	require.Equal(t, 200, status)

	d.fill(nil)
	r.log.await(t, "the required checks succeed again; taking messages")
	require.Eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.written) == n
	}, 2*time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { status, _ := r.get(t, "/readyz"); return status == 200 }, 2*time.Minute, 10*time.Millisecond)
	require.Equal(t, 0, r.end(t))
	for i := range n {
		require.Equal(t, 1, d.written[i], "%d", i)
	}
	require.Zero(t, d.retried)
	require.Len(t, r.log.records(t, "a required check fails; taking no messages until it succeeds"), 1)
	require.Zero(t, waiting(t, broker, "unit.do"))
}

// TestRequiredFromTheStart: nothing is taken before the check has succeeded; a program that is stopped meanwhile ends
// as usual.
func TestRequiredFromTheStart(t *testing.T) {
	t.Parallel()
	d := &disk{full: errors.New("read-only file system")}
	var handled atomic.Int32
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		do.Handle(rt.Handlers, func(context.Context, unit) error { handled.Add(1); return nil })
		ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
		rt.Required("store", d.check)
		return nil
	}}, map[string]string{"broker.url": leverettest.Broker(t)})
	r.log.await(t, "a required check fails; taking no messages until it succeeds")
	require.NoError(t, do.Send(t.Context(), rt.Client, unit{1}))
	require.Eventually(t, func() bool {
		_, body := r.get(t, "/readyz")
		return body == "store: read-only file system\npaused: store: read-only file system\n"
	}, 2*time.Minute, 10*time.Millisecond)
	require.Empty(t, r.log.records(t, "ready"))
	require.Equal(t, 0, r.end(t))
	require.Zero(t, handled.Load())
}

// TestRequiredHangs: a check that does not return has failed, and is not called again before it has returned. One that
// panics has failed, too. Neither keeps the program from ending.
func TestRequiredHangs(t *testing.T) {
	t.Parallel()
	var calls, hung, most atomic.Int32
	release := make(chan struct{})
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
		handlers(rt)
		rt.Required("store", func(context.Context) error {
			most.Store(max(most.Load(), hung.Add(1)))
			defer hung.Add(-1)
			if calls.Add(1) == 1 {
				<-release
			}
			return nil
		})
		rt.Required("disk", func(context.Context) error {
			if calls.Load() < 2 {
				panic("ouch")
			}
			return nil
		})
		return nil
	}}, map[string]string{"broker.url": leverettest.Broker(t)})
	failed := r.log.await(t, "a required check fails; taking no messages until it succeeds")
	require.Equal(t, "store: the check has not returned within 16s\ndisk: panic: ouch", failed["error"])
	require.EqualValues(t, 1, calls.Load())
	close(release)
	r.log.await(t, "the required checks succeed again; taking messages")
	r.log.await(t, "ready")
	require.Equal(t, 0, r.end(t))
	require.EqualValues(t, 1, most.Load())
}
