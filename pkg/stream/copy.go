package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/internal/wayback"
	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// CopiedTogether is how many copies a process that is killed may leave that nobody noted: the next one makes them again.
	CopiedTogether = 100
	// notedEvery is how long what was done may stay without a note. Where the turn of a copy was waited for that long, or
	// longer, slow, each has its note.
	notedEvery, slow = time.Second, 100 * time.Millisecond
	// grace is how long an interrupted copy waits for outstanding confirms.
	grace = 5 * time.Second
	// maxBody is more than any broker takes: what is in a stream can be published.
	maxBody = 512 << 20
)

// A Copy says which events of a stream to copy to one queue, as they are: body, properties and the sender's headers. The
// header leveret-replayed counts how often that was done. No exchange of events is used, so no other subscriber gets them.
type Copy struct {
	Stream string
	// From is where to begin.
	From Place
	// After is the event behind which to go on instead, as an earlier copy has noted. Optional.
	After *Position
	// Until is the offset of the last event: one that the stream has, or that is followed by one.
	Until int64
	// Queue gets the copies. Service is the one that consumes it: a user who may not write to the default exchange goes through
	// the exchange of its retries. That one does not report a queue that is gone: copies then end in retry.lost, and count.
	// Note may look whether the queue is there.
	Queue, Service string
	// Select returns whether to copy an event. Its error ends the copy before that event. Nil selects all.
	Select func(*Event) (bool, error)
	// Limit is the most events to copy; 0 is no limit.
	Limit int
	// DryRun calls Done for the events that would be copied, and copies none.
	DryRun bool
	// Wait is called before each event is copied, to pace that; its error ends the copy. Each copy is then confirmed before
	// the next Wait. Optional.
	Wait func(context.Context) error
	// Done is called with each selected event once its outcome is known: nil if the broker has confirmed that its copy is in
	// the queue. Optional.
	Done func(*Event, error)
	// Note is called when all up to an event is done, so that a later copy can go on behind it: at least after each
	// [CopiedTogether] copies, each second, and at the end. Its error ends the copy. Optional.
	Note func(Copied) error
}

// Copied counts what a copy did.
type Copied struct {
	// Read is how many events were read, Selected how many of them were to be copied.
	Read, Selected int
	// Copied is how many copies are in the queue, confirmed, with all before them.
	Copied int
	// Unsure is how many copies may be there besides, at most: where a connection was lost, or the copy was interrupted,
	// before the broker had answered. A copy that goes on makes them again.
	Unsure int
	// Last is the event up to which all is done; nil where there is none.
	Last *Position
}

// Run copies the events, in their order. It blocks until all are copied, also while the connection is lost. It is rarely
// more than once that the queue then has an event: up to [CopiedTogether] for each lost connection, which also come
// later than others.
//
// When ctx ends, Run publishes nothing more, waits up to 5 s for outstanding confirms, and returns the cause of ctx. It also
// fails as [Reader.Next] does, with [rabbit.ErrUnroutable] where the queue is gone, and with what the functions of
// the Copy return. Copied is valid in every case.
func (c Copy) Run(ctx context.Context, conn *leveret.Conn, log *slog.Logger) (Copied, error) {
	if c.After != nil && c.After.Offset >= c.Until {
		return Copied{Last: c.After}, nil
	}
	if c.Done == nil {
		c.Done = func(*Event, error) {}
	}
	reader := NewReader(conn.Rabbit(), c.Stream, c.From, log)
	if c.After != nil {
		reader = Resume(conn.Rabbit(), c.Stream, *c.After, log)
	}
	defer reader.Close(ctx)
	publishing, stop := contexts.Outlasting(ctx, grace, nil)
	defer stop()
	publisher := rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{MaxInFlight: CopiedTogether, MaxBody: maxBody})
	defer publisher.Close(publishing) //nolint:errcheck // each copy has its outcome
	p := &copying{
		Copy: c, conn: conn, reader: reader, pipeline: publisher.Pipeline(), publishing: publishing,
		way: wayback.New(publisher, conn.Rabbit(), conn.Names().RetryReturnExchange(c.Service)), lost: conn.Publishing().State().Lost,
	}
	if c.After != nil {
		p.begun.Last = c.After
		p.done = p.begun
	}
	err := p.run(ctx)
	p.settle()
	p.note()
	return Copied{
		Read: p.begun.Read, Selected: p.begun.Selected, Copied: p.done.Copied, Unsure: p.unsure, Last: p.done.Last,
	}, cmp.Or(p.failed, err)
}

// copying is one run of a Copy.
type copying struct {
	Copy
	conn       *leveret.Conn
	reader     *Reader
	way        *wayback.Way
	pipeline   *rabbit.Pipeline
	publishing context.Context //nolint:containedctx // of one call: it outlives the caller's by grace

	begun  Copied // as if all copies that are in flight were confirmed
	done   Copied // up to the event before the first whose outcome is unknown, or a failure
	unsure int
	flying int   // copies without an outcome
	lost   int   // connections, at the last note
	failed error // of the first copy that is not there

	noted  time.Time
	since  int  // copies that were published since then
	waited bool // for the turn of the last one, for long
}

// run reads the events until the last, or a failure.
func (p *copying) run(ctx context.Context) error {
	for p.failed == nil && (p.Limit <= 0 || p.begun.Selected < p.Limit) {
		if ctx.Err() != nil { // the reader returns what it has
			return context.Cause(ctx)
		}
		e, err := p.reader.Next(ctx)
		if err != nil || e.Offset > p.Until {
			return err
		}
		if err := p.take(ctx, &e); err != nil || e.Offset == p.Until {
			return err
		}
	}
	return nil
}

// take copies an event if it is selected.
func (p *copying) take(ctx context.Context, e *Event) error {
	selected := true
	if p.Select != nil {
		var err error
		if selected, err = p.Select(e); err != nil {
			return err
		}
	}
	if selected && p.Wait != nil && !p.DryRun {
		began := time.Now()
		if err := p.Wait(ctx); err != nil {
			return err
		}
		p.waited = time.Since(began) >= slow
	}
	p.begun.Read++
	p.begun.Last = &Position{e.Offset, e.MessageId}
	switch {
	case selected && p.DryRun:
		p.begun.Selected++
		p.Done(e, nil)
	case selected:
		p.begun.Selected++
		p.begun.Copied++
		p.publish(e)
	}
	if p.flying == 0 && p.failed == nil {
		p.done = p.begun
	}
	due := p.since >= CopiedTogether || p.waited && p.since > 0 || time.Since(p.noted) >= notedEvery
	if due || p.Wait != nil {
		p.settle()
	}
	if due {
		p.note()
	}
	return nil
}

// publish publishes the copy of an event.
func (p *copying) publish(e *Event) {
	m := p.way.To(p.Queue, p.copyOf(e))
	after := p.begun
	p.since++
	p.flying++
	if !p.way.Known() {
		p.outcome(e, after, p.way.Publish(p.publishing, m))
		return
	}
	err := p.pipeline.Publish(p.publishing, m, func(err error) error { p.outcome(e, after, err); return err })
	if err != nil {
		_ = p.pipeline.Flush(p.publishing) // those before it come first
		p.outcome(e, after, err)
	}
}

// copyOf is the message of an event as it goes to the queue.
func (p *copying) copyOf(e *Event) rabbit.Publishing {
	m := wire.CopyOf(&e.Delivery, p.Queue)
	m.Headers[wire.Replayed] = int64(wire.Count(m.Headers, wire.Replayed)) + 1
	return m
}

// outcome counts what became of a copy. Outcomes come in the order of the events.
func (p *copying) outcome(e *Event, after Copied, err error) {
	p.flying--
	switch {
	case err == nil && p.failed == nil:
		p.done = after
	case err == nil || errors.Is(err, rabbit.ErrOutcomeUnknown): // it is there, or may be, and is made again
		p.unsure++
	}
	if err != nil && p.failed == nil {
		p.failed = fmt.Errorf("the event at offset %d: %w", e.Offset, err)
	}
	p.Done(e, err)
}

// settle waits for the outcome of all copies.
func (p *copying) settle() {
	if p.flying > 0 {
		_ = p.pipeline.Flush(p.publishing) // its errors are those of the outcomes
	}
	if p.failed == nil {
		p.done = p.begun
	}
}

// note has noted what is done. All copies have an outcome.
func (p *copying) note() {
	if lost := p.conn.Publishing().State().Lost; lost > p.lost {
		p.lost, p.unsure = lost, p.unsure+p.since // what had no answer was written again
	}
	p.noted, p.since, p.waited = time.Now(), 0, false
	if p.Note == nil || p.DryRun {
		return
	}
	noted := p.done
	noted.Unsure = p.unsure
	if err := p.Note(noted); p.failed == nil {
		p.failed = err
	}
}
