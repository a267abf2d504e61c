package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/stream"
	"github.com/leveretmq/leveret/pkg/topology"
)

const copies, others = "payment.on.order.placed", "stock.on.order.placed"

// subscribe declares the queues of two subscriptions, as if their services had started now.
func (b *bench) subscribe() {
	b.t.Helper()
	events := topology.Exchange{Name: "events", Type: topology.Topic}
	d := rabbit.NewDeclarer(b.conn.Rabbit())
	require.NoError(b.t, d.Declare(b.ctx, topology.Names{}.Work("payment", events, "order.placed", copies)))
	require.NoError(b.t, d.Declare(b.ctx, topology.Names{}.Work("stock", events, "order.placed", others)))
}

// taken takes all messages of a queue.
func (b *bench) taken(queue string) (all []rabbit.Delivery) {
	b.t.Helper()
	channel, err := b.conn.Rabbit().Channel(b.ctx)
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, channel.Close()) }()
	for {
		d, ok, err := channel.Get(queue, true)
		require.NoError(b.t, err)
		if !ok {
			return all
		}
		all = append(all, d)
	}
}

func (b *bench) ends() stream.Ends {
	b.t.Helper()
	ends, err := stream.Look(b.ctx, b.conn.Rabbit(), name)
	require.NoError(b.t, err)
	return ends
}

func (b *bench) copying() stream.Copy {
	return stream.Copy{Stream: name, From: stream.First(), Until: b.ends().Last, Queue: copies, Service: "payment"}
}

// A subscriber that comes later gets all events, in their order, once and as they are. Nobody else gets anything.
func TestCopy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Now().UTC().Truncate(time.Second)
	first := rabbit.Publishing{
		MessageId: "first", Type: "order.placed", ContentType: "application/json", ContentEncoding: "identity", DeliveryMode: 2, Priority: 4, // as those without: RabbitMQ 4.3 delivers by priority
		CorrelationId: "c", ReplyTo: "r", AppId: "order", Timestamp: at, Body: []byte(`{"n":1}`),
		Headers: rabbit.Table{"mine": "kept", "n": int64(7), "yes": true, "leveret-sent-at": "2026-01-02T03:04:05Z", "leveret-conversation-id": "x"},
	}
	publication := &rabbit.Publication{Exchange: "events", RoutingKey: "order.placed", Mandatory: true, Publishing: first}
	require.NoError(t, b.publisher.Publish(b.ctx, publication))
	b.fill(0, 1000, 10)
	b.subscribe()

	var notes []stream.Copied
	c := b.copying()
	c.Note = func(done stream.Copied) error { notes = append(notes, done); return nil }
	done, err := c.Run(b.ctx, b.conn, slog.Default())
	require.NoError(t, err)
	require.Equal(t, stream.Copied{Read: 1001, Selected: 1001, Copied: 1001, Last: &stream.Position{Offset: c.Until, ID: "999"}}, done)
	require.Equal(t, done, notes[len(notes)-1])
	for i, n := range notes[1:] {
		require.LessOrEqual(t, n.Copied-notes[i].Copied, stream.CopiedTogether)
	}
	got := b.taken(copies)
	require.Len(t, got, 1001)
	for i, d := range got[1:] {
		require.Equal(t, fmt.Sprint(i), d.MessageId)
	}
	d := got[0]
	first.Headers["leveret-replayed"], first.Headers["leveret-routing-key"] = int64(1), "order.placed"
	for _, queues := range []string{"x-delivery-count", "x-acquired-count"} {
		delete(d.Headers, queues)
	}
	require.Equal(t, first.Headers, d.Headers)
	require.Equal(t, []any{first.MessageId, first.Type, first.ContentType, first.ContentEncoding, first.DeliveryMode, first.Priority, first.CorrelationId, first.ReplyTo, first.AppId, first.Timestamp, first.Body},
		[]any{d.MessageId, d.Type, d.ContentType, d.ContentEncoding, d.DeliveryMode, d.Priority, d.CorrelationId, d.ReplyTo, d.AppId, d.Timestamp.UTC(), d.Body})
	require.Empty(t, b.taken(others))
}

func TestCopySelects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(0, 300, 10)
	b.subscribe()
	even := func(e *stream.Event) (bool, error) { return e.Offset%2 == 0, nil }

	c := b.copying()
	c.Select, c.DryRun = even, true
	done, err := c.Run(b.ctx, b.conn, slog.Default())
	require.NoError(t, err)
	require.Equal(t, 300, done.Read)
	require.Zero(t, done.Copied)
	require.Empty(t, b.taken(copies))

	c.DryRun, c.Limit = false, 10
	done, err = c.Run(b.ctx, b.conn, slog.Default())
	require.NoError(t, err)
	require.Equal(t, 10, done.Copied)
	require.Len(t, b.taken(copies), 10)

	c.After, c.Limit = done.Last, 0 // on behind it
	more, err := c.Run(b.ctx, b.conn, slog.Default())
	require.NoError(t, err)
	require.Equal(t, 300, done.Read+more.Read)
	require.Len(t, b.taken(copies), more.Copied)

	c.After = more.Last // there is nothing behind it, and it does not wait
	last, err := c.Run(b.ctx, b.conn, slog.Default())
	require.NoError(t, err)
	require.Equal(t, stream.Copied{Last: more.Last}, last)

	c.After = &stream.Position{Offset: done.Last.Offset, ID: "another"}
	_, err = c.Run(b.ctx, b.conn, slog.Default())
	require.ErrorAs(t, err, new(*stream.ReplacedError))
}

var errEnough = errors.New("enough")

// Wherever a copy ends, what it says is done is done, and the next one goes on there.
func TestCopyEnds(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*stream.Copy, func()) (want error){
		"selection": func(c *stream.Copy, _ func()) error {
			c.Select = func(e *stream.Event) (bool, error) {
				if e.MessageId == "150" {
					return false, errEnough
				}
				return true, nil
			}
			return errEnough
		},
		"note": func(c *stream.Copy, _ func()) error {
			c.Note = func(done stream.Copied) error {
				if done.Copied >= 150 {
					return errEnough
				}
				return nil
			}
			return errEnough
		},
		"wait": func(c *stream.Copy, _ func()) error {
			n := 0
			c.Wait = func(context.Context) error {
				if n++; n > 150 {
					return errEnough
				}
				return nil
			}
			return errEnough
		},
		"interruption": func(c *stream.Copy, stop func()) error {
			c.Select = func(e *stream.Event) (bool, error) {
				if e.MessageId == "150" {
					stop()
				}
				return true, nil
			}
			return context.Canceled
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.fill(0, 500, 10)
			b.subscribe()
			ctx, stop := context.WithCancel(b.ctx)
			defer stop()
			c := b.copying()
			want := end(&c, stop)
			done, err := c.Run(ctx, b.conn, slog.Default())
			require.ErrorIs(t, err, want)
			require.LessOrEqual(t, done.Copied, 250)
			if what != "interruption" { // which does not wait for long
				require.Zero(t, done.Unsure)
				require.GreaterOrEqual(t, done.Copied, 150)
			}
			got := b.taken(copies)
			require.LessOrEqual(t, len(got), done.Copied+done.Unsure)
			next := b.copying()
			next.After = done.Last
			rest, err := next.Run(b.ctx, b.conn, slog.Default())
			require.NoError(t, err)
			require.Equal(t, 500, done.Copied+rest.Copied)
			got = append(got, b.taken(copies)...)
			require.LessOrEqual(t, len(got), 500+done.Unsure)
			seen := 0
			for _, d := range got {
				if d.MessageId == fmt.Sprint(seen) { // the others are there twice
					seen++
				}
			}
			require.Equal(t, 500, seen)
		})
	}
}

func TestCopyToNoQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(0, 10, 10)
	c := b.copying()
	done, err := c.Run(b.ctx, b.conn, slog.Default())
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.ErrorContains(t, err, "the event at offset ")
	require.Zero(t, done.Copied)
	require.Nil(t, done.Last)
}

// What was deleted before it was copied is an error.
func TestCopyNoticesAGap(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe()
	b.fill(0, 100, 10)
	c := b.copying()
	c.Limit = 10
	done, err := c.Run(b.ctx, b.conn, slog.Default())
	require.NoError(t, err)
	b.gap(done.Last.Offset)
	c = b.copying()
	c.After = done.Last
	_, err = c.Run(b.ctx, b.conn, slog.Default())
	var gap *stream.GapError
	require.ErrorAs(t, err, &gap)
	require.Equal(t, done.Last.Offset, gap.After)
}

func TestFind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, err := stream.Find(b.ctx, b.conn.Rabbit(), name, stream.First())
	require.NoError(t, err)
	require.Nil(t, e)
	b.fill(0, 20, 10)
	e, err = stream.Find(b.ctx, b.conn.Rabbit(), name, stream.Offset(19))
	require.NoError(t, err)
	require.Equal(t, "19", e.MessageId)
	require.Equal(t, e.Timestamp, e.Sent(), "the header is missing")
	require.False(t, e.Sent().IsZero())
	_, err = stream.Find(b.ctx, b.conn.Rabbit(), "no.such", stream.First())
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	_, err = stream.Find(b.ctx, b.conn.Rabbit(), copies, stream.Place{})
	require.Error(t, err)
}
