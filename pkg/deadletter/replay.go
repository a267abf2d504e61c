package deadletter

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/internal/wayback"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// window bounds the replayed messages that await their confirm: those may arrive twice if this process is killed.
	window = 256
	// mostUnsure is how many letters are taken before the broker is seen to have removed them, and mostUnsurePaced how many
	// where each awaits its turn.
	mostUnsure, mostUnsurePaced = 1000, 32
	// grace is how long an interrupted replay waits for outstanding confirms.
	grace = 5 * time.Second
)

// A Replay says which letters of a source to return, or to remove. The zero value selects all that are there when it
// begins.
type Replay struct {
	// Select returns whether to take a letter; nil selects all. It may be called again with a letter that it did not
	// select.
	Select func(*Letter) bool
	// Limit is the most letters to take; 0 is no limit.
	Limit int
	// DryRun calls Done for the letters that would be taken, and changes nothing.
	DryRun bool
	// Wait is called before each letter is taken, to pace the replay; its error ends it. It is called again where it was
	// interrupted. Each message is confirmed before the next Wait. Optional.
	Wait func(context.Context) error
	// Done is called with each selected letter once its outcome is known: nil if it was taken. Optional.
	Done func(*Letter, error)
}

// A Result counts what a replay or a removal did. Except for a dry run, Matched is the sum of Replayed, Failed and
// Unsure.
type Result struct {
	// Seen is how many letters were read, Matched how many of them were selected.
	Seen, Matched int
	// Replayed is how many are back in their queue, or were removed, and are no longer in the source.
	Replayed int
	// Failed is how many their queue did not take; they are still in the source.
	Failed int
	// Unsure is how many may be back in their queue, or were to be removed, and may still be in the source, because the
	// connection was lost, or the replay interrupted, before the broker had answered.
	Unsure int
}

// Replay returns letters of a source to their work queues. A letter that fails again meanwhile is not replayed again.
//
// Letters go through the default exchange under the queue's name, which reaches this queue only and reports if it is
// gone. A user who may not write there goes through the exchange of the retry tiers; a message whose queue is deleted
// meanwhile then ends in retry.lost.
//
// It may take longer than the broker's consumer timeout: from time to time it puts back what it has not selected, and
// goes on. While the broker blocks publishers, because it is short of memory or disk, it waits. When ctx ends it
// publishes nothing more, waits up to 5 s for outstanding confirms, and returns the cause of ctx. When the consuming
// connection is lost it returns rabbit.ErrNotConnected: start again for the rest. It also fails as [Store.Count] does,
// with [ErrHeldTooLong], and with the error of the first letter that the queue of all did not take. The Result is valid
// in every case.
func (s *Store) Replay(ctx context.Context, from Source, r Replay) (Result, error) {
	p := s.replaying(from, r)
	p.publisher = rabbit.NewPublisher(s.publish, rabbit.PublisherConfig{MaxInFlight: window, MaxBody: 512 << 20})
	p.way = wayback.New(p.publisher, s.consume, s.names.RetryReturnExchange(from.Service))
	closing, cancel := contexts.Outlasting(ctx, grace, nil) // from the end of ctx, not from that of the last round
	defer cancel()
	err := p.run(ctx)
	_ = p.publisher.Close(closing) // each message has its outcome
	return p.result, err
}

// Remove removes letters of a source for good, as Replay returns them.
func (s *Store) Remove(ctx context.Context, from Source, r Replay) (Result, error) {
	p := s.replaying(from, r)
	err := p.run(ctx)
	return p.result, err
}

func (s *Store) replaying(from Source, r Replay) *replaying {
	if r.Done == nil {
		r.Done = func(*Letter, error) {}
	}
	return &replaying{Replay: r, store: s, from: from, failed: map[string]bool{}, total: -1}
}

// replaying is one replay, or one removal, which has no publisher.
type replaying struct {
	Replay
	store     *Store
	from      Source
	publisher *rabbit.Publisher

	way     *wayback.Way
	paced   bool            // the next letter has been waited for
	late    bool            // it has not: the round ended before its turn
	waits   int             // between rounds
	failed  map[string]bool // the fingerprints of letters that failed, and are not tried again
	total   int             // the letters that were there; -1 before the first round
	stopped error           // why no more may be taken
	result  Result

	// Of the current round. Taking ends with the caller's context, and publishing outlives it by grace. Both end when the
	// reader loses its channel: nothing can be acked from then on, so a later publish would arrive twice.
	*reader
	pipeline           *rabbit.Pipeline
	since              int             // letters read since the last publish
	taking, publishing context.Context //nolint:containedctx // of one call
}

func (p *replaying) run(ctx context.Context) error { return p.store.rounds(ctx, p.from, p) }

func (p *replaying) progress() int { return p.result.Replayed + p.result.Unsure + p.waits }

func (p *replaying) left() int { return p.total - p.result.Replayed - p.result.Unsure }

// between waits for the next letter's turn where that took too long to hold others meanwhile.
func (p *replaying) between(ctx context.Context) error {
	if !p.late {
		return nil
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	p.late, p.paced = false, true
	p.waits++
	return nil
}

// round takes letters until that time.
func (p *replaying) round(ctx context.Context, r *reader, until time.Time) (finished bool, err error) {
	outliving, stop := contexts.Outlasting(ctx, grace, nil)
	defer stop()
	var stopTaking, stopPublishing func()
	p.reader, p.stopped, p.since = r, nil, 0
	r.unsure = mostUnsure
	if p.Wait != nil {
		r.unsure = mostUnsurePaced
	}
	p.taking, stopTaking = r.context(ctx)
	defer stopTaking()
	p.publishing, stopPublishing = r.context(outliving)
	defer stopPublishing()
	if p.publisher != nil {
		p.pipeline = p.publisher.Pipeline()
	}
	if p.total < 0 {
		p.total = r.ready
	}
	finished, err = p.letters(until)
	p.settleAll()
	err = cmp.Or(err, p.stopped)
	if lost := context.Cause(r.life); lost != nil && !errors.Is(err, rabbit.ErrRefused) && !errors.Is(err, rabbit.ErrNotFound) {
		err = lost // the others follow from that
	}
	return finished, err
}

// closed counts what the end of a round makes certain.
func (p *replaying) closed(r *reader, err error) error {
	if errors.Is(err, rabbit.ErrTookBack) && r.inDoubt() == 0 {
		return nil // it has put back what was held
	}
	if unsure := r.inDoubt(); err != nil && unsure > 0 { // the broker may not have seen the latest acks
		p.result.Replayed -= unsure
		p.result.Unsure += unsure
	}
	return err
}

func (p *replaying) letters(until time.Time) (finished bool, err error) {
	seen, left := p.result.Replayed, p.total-p.result.Replayed
	for p.read < left && p.stopped == nil && (p.Limit <= 0 || p.result.Matched < p.Limit) {
		if p.taking.Err() != nil {
			return false, context.Cause(p.taking)
		}
		if time.Now().After(until) {
			return false, nil
		}
		d, ok, err := p.next(p.taking, p.settleAll)
		if err != nil || !ok {
			return true, err
		}
		p.result.Seen = max(p.result.Seen, seen+p.read)
		l := p.from.letter(d)
		if p.since++; p.since > window {
			p.settleAll()
		}
		if p.Select != nil && !p.Select(l) || len(p.failed) > 0 && p.failed[l.Fingerprint()] {
			p.hold(d)
			continue
		}
		if err := p.pace(until); err != nil || p.late {
			p.hold(d)
			return false, err
		}
		p.result.Matched++
		p.one(l)
	}
	return true, nil
}

// pace waits for the next letter's turn, or until the round has to end.
func (p *replaying) pace(until time.Time) (err error) {
	if p.Wait == nil || p.DryRun || p.paced {
		p.paced = false
		return nil
	}
	ctx, cancel := context.WithCancelCause(p.taking) // no deadline: a wait beyond one could fail at once
	defer cancel(nil)
	timer := time.AfterFunc(time.Until(until), func() { cancel(errPaused) })
	defer timer.Stop()
	if err = p.Wait(ctx); err != nil && errors.Is(context.Cause(ctx), errPaused) {
		p.late = true
		return nil
	}
	return err
}

func (p *replaying) one(l *Letter) {
	if p.DryRun || p.publisher == nil {
		p.settle(l, nil)
		return
	}
	m := p.way.To(l.Queue, p.from.returned(l))
	if !p.way.Known() || p.Wait != nil {
		p.settle(l, p.way.Publish(p.publishing, m))
		if err := p.sendAcks(); err != nil { // the next may come much later
			p.stopped = cmp.Or(p.stopped, err)
		}
		return
	}
	p.since = 0
	err := p.way.Reachable(p.publishing, l.Queue)
	if err == nil {
		err = p.pipeline.Publish(p.publishing, m, func(err error) error { p.settle(l, err); return err })
	}
	if err != nil {
		p.settleAll() // those before it come first
		p.settle(l, err)
	}
}

// settleAll waits for what is in flight.
func (p *replaying) settleAll() {
	p.since = 0
	if p.pipeline != nil {
		_ = p.pipeline.Flush(p.publishing)
	}
	if err := p.sendAcks(); err != nil {
		p.stopped = cmp.Or(p.stopped, err)
	}
}

// settle acks a letter whose copy was confirmed, and counts the outcome.
func (p *replaying) settle(l *Letter, err error) {
	switch {
	case p.DryRun:
		p.hold(l.Delivery)
	case err == nil:
		p.result.Replayed++ // the end takes back those whose acks may be lost
		if err = p.ack(l.Delivery); err != nil {
			p.stopped = err
		}
	case errors.Is(err, rabbit.ErrUnconfirmed):
		p.hold(l.Delivery)
		p.result.Unsure++
		p.stopped = err
	default:
		p.hold(l.Delivery)
		p.result.Failed++
		if ofOne(err) || p.from.Queue == "" && errors.Is(err, rabbit.ErrUnroutable) {
			p.failed[l.Fingerprint()] = true
		} else {
			p.stopped = err // the next would fail the same way
		}
	}
	p.Done(l, err)
}

// ofOne reports whether an error concerns one message alone.
func ofOne(err error) bool {
	return errors.Is(err, rabbit.ErrTooLarge) || errors.Is(err, rabbit.ErrInvalid)
}
