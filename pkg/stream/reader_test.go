package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/stream"
	"github.com/leveretmq/leveret/pkg/topology"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 2 * time.Minute

// bench is a stream with small segments.
type bench struct {
	t         *testing.T
	ctx       context.Context
	conn      *leveret.Conn
	publisher *rabbit.Publisher
	pipeline  *rabbit.Pipeline
}

const name = "order.placed.kept"

func setup(t *testing.T) *bench {
	t.Helper()
	ctx, broker := t.Context(), leverettest.Broker(t)
	connecting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := leveret.Connect(connecting, leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(ctx))) })
	b := &bench{t: t, ctx: ctx, conn: conn, publisher: rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{})}
	t.Cleanup(func() { require.NoError(t, b.publisher.Close(context.WithoutCancel(ctx))) })
	b.pipeline = b.publisher.Pipeline()
	b.declare()
	return b
}

func (b *bench) declare() {
	b.t.Helper()
	kept := topology.Names{}.Kept(topology.Exchange{Name: "events", Type: topology.Topic}, "order.placed", "order.placed", time.Hour, 1_000_000)
	require.NoError(b.t, rabbit.NewDeclarer(b.conn.Rabbit()).Declare(b.ctx, kept))
}

// fill publishes events from number from to before number to.
func (b *bench) fill(from, to int, size int) {
	b.t.Helper()
	for i := from; i < to; i++ {
		b.raw(fmt.Sprint(i), `{"n":0}`+strings.Repeat(" ", size))
	}
	require.NoError(b.t, b.flush())
}

// raw publishes a message; flush waits until all are confirmed.
func (b *bench) raw(id, body string) {
	b.t.Helper()
	require.NoError(b.t, b.pipeline.Publish(b.ctx, &rabbit.Publication{
		Exchange: "events", RoutingKey: "order.placed", Mandatory: true,
		Publishing: rabbit.Publishing{MessageId: id, DeliveryMode: 2, Timestamp: time.Now(), Body: []byte(body)},
	}, nil))
}

func (b *bench) flush() error { return b.pipeline.Flush(b.ctx) }

// gap publishes until the events behind an offset have been deleted, and returns the first one that is left.
func (b *bench) gap(behind int64) (first stream.Event) {
	b.t.Helper()
	b.fill(10, 3000, 2000)
	require.Eventually(b.t, func() bool { // segments are deleted when the next one begins
		e, err := stream.Find(b.ctx, b.conn.Rabbit(), name, stream.First())
		if err != nil || e == nil {
			return false
		}
		first = *e
		return first.Offset > behind+2
	}, patience, 100*time.Millisecond)
	return first
}

// remove deletes the stream.
func (b *bench) remove() {
	b.t.Helper()
	require.Eventually(b.t, func() bool { // a busy broker may not be able to, and closes the connection (541)
		channel, err := b.conn.Rabbit().Channel(b.ctx)
		if err != nil {
			return false
		}
		_, err = channel.QueueDelete(name, false, false, false)
		return errors.Join(err, channel.Close()) == nil
	}, patience, 100*time.Millisecond)
}

// next returns the next event, or the error that the reader meets within the test's patience.
func (b *bench) next(r *stream.Reader) (stream.Event, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return r.Next(ctx) //nolint:wrapcheck // the test looks at it
}

func (b *bench) reader(r *stream.Reader) *stream.Reader {
	b.t.Cleanup(func() { r.Close(context.WithoutCancel(b.ctx)) })
	return r
}

func (b *bench) from(p stream.Place) *stream.Reader {
	return b.reader(stream.NewReader(b.conn.Rabbit(), name, p, slog.Default()))
}

func (b *bench) resume(p stream.Position) *stream.Reader {
	return b.reader(stream.Resume(b.conn.Rabbit(), name, p, slog.Default()))
}

// read returns the next n events.
func (b *bench) read(r *stream.Reader, n int) []stream.Event {
	b.t.Helper()
	events := make([]stream.Event, n)
	for i := range events {
		var err error
		events[i], err = b.next(r)
		require.NoError(b.t, err)
	}
	return events
}

func TestReader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(0, 1000, 10)
	events := b.read(b.from(stream.First()), 1000)
	for i, e := range events {
		require.Equal(t, fmt.Sprint(i), e.MessageId)
	}
	last := events[499]
	next := b.read(b.resume(stream.Position{Offset: last.Offset, ID: last.MessageId}), 1)[0]
	require.Equal(t, "500", next.MessageId)
	require.Equal(t, "500", b.read(b.from(stream.Offset(next.Offset)), 1)[0].MessageId)
	require.Equal(t, "0", b.read(b.from(stream.Since(time.Now().Add(-time.Hour))), 1)[0].MessageId)
	ends, err := stream.Look(b.ctx, b.conn.Rabbit(), name)
	require.NoError(t, err)
	require.Equal(t, stream.Ends{First: events[0].Offset, Last: events[999].Offset}, ends)
	_, err = b.from(stream.Place{}).Next(b.ctx)
	require.ErrorContains(t, err, "First, Since or Offset")
}

// What RabbitMQ has deleted before it was read is an error, though RabbitMQ goes on behind it.
func TestGap(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(0, 10, 10)
	r := b.from(stream.First())
	last := b.read(r, 10)[9]
	r.Close(b.ctx) // or what is on its way would be read
	first := b.gap(last.Offset)
	for _, r := range []*stream.Reader{r, b.resume(stream.Position{Offset: last.Offset, ID: last.MessageId})} {
		_, err := b.next(r)
		var gap *stream.GapError
		require.ErrorAs(t, err, &gap)
		require.Equal(t, last.Offset, gap.After)
		require.GreaterOrEqual(t, gap.Next, first.Offset)
	}
}

// A stream that was deleted and declared again has other events at the same offsets, or fewer of them.
func TestReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(0, 10, 10)
	r := b.from(stream.First())
	last := b.read(r, 10)[9]
	b.remove()
	_, err := b.next(r)
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	b.declare()
	b.fill(100, 105, 10)
	var replaced *stream.ReplacedError
	_, err = b.next(r)
	require.ErrorAs(t, err, &replaced)
	b.fill(105, 200, 10)
	_, err = b.next(b.resume(stream.Position{Offset: last.Offset, ID: last.MessageId}))
	require.ErrorAs(t, err, &replaced)
	require.Equal(t, stream.ReplacedError{Stream: name, Offset: last.Offset, ID: "9"}, *replaced)
}

// The end of a stream is behind each event that was confirmed before, though others never cease to come.
func TestLookIsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, stop := context.WithCancel(b.ctx)
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer stop()
	var confirmed atomic.Int64
	publishing.Go(func() {
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			if b.publisher.Publish(ctx, &rabbit.Publication{Exchange: "events", RoutingKey: "order.placed", Publishing: rabbit.Publishing{Body: []byte("{}")}}) == nil {
				confirmed.Add(1)
			}
		}
	})
	require.Eventually(t, func() bool { return confirmed.Load() > 0 }, patience, time.Millisecond)
	for range 50 {
		before := confirmed.Load()
		ends, err := stream.Look(b.ctx, b.conn.Rabbit(), name)
		require.NoError(t, err)
		require.False(t, ends.Empty)
		require.Zero(t, ends.First)
		require.GreaterOrEqual(t, ends.Last, before-1)
	}
	stop()
	publishing.Wait()
	ends, err := stream.Look(b.ctx, b.conn.Rabbit(), name)
	require.NoError(t, err)
	for _, place := range []stream.Place{stream.Offset(ends.Last + 1), stream.Offset(ends.Last + 1000), stream.Since(time.Now().Add(time.Hour))} {
		e, err := stream.Find(b.ctx, b.conn.Rabbit(), name, place)
		require.NoError(t, err)
		require.Nil(t, e, place)
	}
	for _, place := range []stream.Place{stream.First(), stream.Offset(ends.Last), stream.Since(time.Now().Add(-time.Hour))} {
		e, err := stream.Find(b.ctx, b.conn.Rabbit(), name, place)
		require.NoError(t, err)
		require.NotNil(t, e, place)
	}
}

// A broker that cannot say anything of a stream now is asked again, a few times.
func TestLookAsksAgain(t *testing.T) {
	t.Parallel()
	away := fmt.Errorf("the queue: %w", rabbit.ErrNotConnected)
	closed := fmt.Errorf("%w: %w", rabbit.ErrNotConnected, rabbit.ErrClosed)
	for name, tc := range map[string]struct {
		answers []error
		want    error
		asked   int
	}{
		"it says so at once":             {[]error{nil}, nil, 1},
		"a moment later":                 {[]error{away, away, nil}, nil, 3},
		"never":                          {[]error{away, away, away, away, away}, away, 5},
		"something else is wrong":        {[]error{away, rabbit.ErrNotFound}, rabbit.ErrNotFound, 2},
		"the connection will not return": {[]error{closed}, closed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun, asked := time.Now(), 0
				err := stream.Patiently(t.Context(), func() error {
					asked++
					return tc.answers[asked-1]
				})
				require.Equal(t, tc.want, err)
				require.Equal(t, tc.asked, asked)
				require.Equal(t, time.Duration(asked-1)*time.Second, time.Since(begun))
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	require.Equal(t, away, stream.Patiently(ctx, func() error {
		cancel()
		return away
	}), "asked once")
}

// Offsets that RabbitMQ has used itself are missing as well. Only a stream that begins behind the last event has lost some.
func TestOffsetsThatAreNoEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(0, 10, 10)
	r := b.resume(stream.Position{Offset: 4, ID: "4"})
	e, fresh, err := stream.Take(b.ctx, r, &rabbit.Delivery{MessageId: "5", Headers: rabbit.Table{"x-stream-offset": int64(9)}})
	require.NoError(t, err)
	require.True(t, fresh)
	require.Equal(t, int64(9), e.Offset)

	r = b.resume(stream.Position{Offset: 4, ID: "4"})
	first := b.gap(4)
	_, _, err = stream.Take(b.ctx, r, &rabbit.Delivery{MessageId: "x", Headers: rabbit.Table{"x-stream-offset": first.Offset + 500}})
	var gap *stream.GapError
	require.ErrorAs(t, err, &gap)
	require.Equal(t, int64(4), gap.After)
	require.GreaterOrEqual(t, gap.Next, first.Offset, "the first one that is left")
}
