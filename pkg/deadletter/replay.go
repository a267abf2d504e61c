package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// window is how many replayed messages wait for their confirm at once: what may come twice if this process is killed.
	window = 32
	// grace is how long an interrupted replay waits for the confirms of what is in flight.
	grace = 5 * time.Second
)

// A Replay says which dead letters go back to their queue. The zero value replays all that are there when it begins.
type Replay struct {
	// Select picks; nil picks all.
	Select func(*Letter) bool
	// Limit is how many are replayed at most; 0 is no limit.
	Limit int
	// DryRun shows what would be replayed, and leaves everything as it is.
	DryRun bool
	// Wait is called before each publish, to hold it back. Its error ends the replay. Optional.
	Wait func(context.Context) error
	// Done is told of each letter's end: replayed, or why not. Optional.
	Done func(*Letter, error)
}

// A Result counts what a replay did.
type Result struct {
	// Queue is the work queue that the letters went to.
	Queue string
	// Seen is how many dead letters were looked at, Matched how many of them were picked.
	Seen, Matched int
	// Replayed is how many are in their queue again and no dead letters any more.
	Replayed int
	// Failed is how many were not taken; they are dead letters still.
	Failed int
	// Twice is how many are in their queue again and still are dead letters, since the connection was lost in between.
	// Or they may be: their confirm did not come.
	Twice int
}

// Replay gives dead letters of a work queue back to it. Those that fail again while it runs are not taken again.
//
// They go through the default exchange under the queue's name, which reaches this queue and no other, and tells where it
// is gone. A user who may not write there goes through the exchange of the retry tiers; a message for a queue that is
// gone ends in retry.lost then.
//
// When ctx ends, nothing more is published, what is in flight is settled, and the error is that of ctx. Result holds
// what was done in any case.
func (l *Letters) Replay(ctx context.Context, queue string, r Replay) (Result, error) {
	s, err := l.open(ctx, queue)
	if err != nil {
		return Result{Queue: WorkQueue(queue)}, err
	}
	outliving, cancel := outlive(ctx, grace)
	defer cancel()
	publisher := rabbit.NewPublisher(l.conn, rabbit.PublisherConfig{MaxInFlight: window, MaxBody: 512 << 20})
	p := &replaying{Replay: r, letters: l, session: s, publisher: publisher, pipeline: publisher.Pipeline(), result: Result{Queue: s.queue}}
	err = p.run(ctx, outliving)
	err = errors.Join(err, p.flush(outliving), publisher.Close(outliving), s.close(ctx))
	return p.result, err
}

// outlive returns a context that ends some time after another one.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	timer := make(chan *time.Timer, 1)
	stop := context.AfterFunc(ctx, func() {
		timer <- time.AfterFunc(d, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() {
		if !stop() {
			if t := <-timer; t != nil {
				t.Stop()
			}
		}
		cancel(context.Canceled)
	}
}

// replaying is one replay.
type replaying struct {
	Replay
	letters   *Letters
	session   *session
	publisher *rabbit.Publisher
	pipeline  *rabbit.Pipeline
	exchange  string
	result    Result
	stopped   error // why no more may be published
}

func (p *replaying) run(ctx, outliving context.Context) error {
	for p.result.Seen < p.session.ready && (p.Limit <= 0 || p.result.Matched < p.Limit) {
		if p.stopped != nil {
			return nil // flush tells
		}
		letter, err := p.session.next(ctx)
		if err != nil || letter == nil {
			return err
		}
		p.result.Seen++
		if p.Select != nil && !p.Select(letter) {
			p.session.keep(letter)
			continue
		}
		p.result.Matched++
		if err := p.one(ctx, outliving, letter); err != nil {
			return err
		}
	}
	return nil
}

func (p *replaying) one(ctx, outliving context.Context, letter *Letter) error {
	if p.DryRun {
		p.session.keep(letter)
		p.tell(letter, nil)
		return nil
	}
	if p.Wait != nil {
		if err := p.Wait(ctx); err != nil {
			p.session.keep(letter)
			p.result.Matched--
			return err
		}
	}
	if p.result.Matched == 1 { // alone: a refusal closes the channel, and what else is on it would be in doubt
		p.settle(letter, p.first(outliving, letter))
		return nil
	}
	err := p.pipeline.Publish(outliving, p.publication(letter), func(err error) { p.settle(letter, err) })
	if err != nil {
		p.settle(letter, err)
	}
	return nil
}

// first publishes the first letter, and finds the exchange that this user may publish to.
func (p *replaying) first(ctx context.Context, letter *Letter) error {
	err := p.publisher.Publish(ctx, p.publication(letter))
	if !errors.Is(err, rabbit.ErrRefused) {
		return err
	}
	if _, _, gone := Inspect(ctx, p.letters.conn, p.session.queue); errors.Is(gone, ErrNoQueue) {
		return fmt.Errorf("%w: %w", rabbit.ErrUnroutable, gone)
	}
	p.exchange = p.letters.names.RetryReturnExchange()
	if again := p.publisher.Publish(ctx, p.publication(letter)); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

func (p *replaying) publication(letter *Letter) *rabbit.Publication {
	return &rabbit.Publication{Exchange: p.exchange, RoutingKey: p.session.queue, Mandatory: true, Publishing: letter.revived()}
}

// settle ends one letter, once it is known what became of its copy.
func (p *replaying) settle(letter *Letter, err error) {
	switch {
	case err == nil:
		if err = p.session.settle(letter); err == nil {
			p.result.Replayed++
			break
		}
		p.result.Twice++
		p.stopped = err
	case errors.Is(err, rabbit.ErrUnconfirmed):
		p.result.Twice++
		p.session.keep(letter)
		p.stopped = err
	default:
		p.result.Failed++
		p.session.keep(letter)
		if !errors.Is(err, rabbit.ErrTooLarge) && !errors.Is(err, rabbit.ErrInvalid) {
			p.stopped = err // what goes for this one goes for the next
		}
	}
	p.tell(letter, err)
}

func (p *replaying) tell(letter *Letter, err error) {
	if p.Done != nil {
		p.Done(letter, err)
	}
}

// flush waits for the end of all that is in flight; settle has been told of each.
func (p *replaying) flush(ctx context.Context) error {
	_ = p.pipeline.Flush(ctx)
	return p.stopped
}
