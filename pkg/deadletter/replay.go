package deadletter

import (
	"cmp"
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
	// Service is the one that takes messages from the queue. It matters in the isolated layout alone, to a user who may
	// not write to the default exchange. Default: the service that the queue's name begins with.
	Service string
	// Select picks; nil picks all.
	Select func(*Letter) bool
	// Limit is how many are replayed at most; 0 is no limit.
	Limit int
	// DryRun shows what would be replayed, and leaves everything as it is.
	DryRun bool
	// Wait is called before each publish, to hold it back; its error ends the replay. Each message is confirmed before the
	// next one waits. A replay that takes longer than the broker's consumer timeout (30 min) while it holds letters that
	// it did not pick is ended by the broker. Optional.
	Wait func(context.Context) error
	// Done is told of each letter's end: replayed, or why not. Optional.
	Done func(*Letter, error)
}

// A Result counts what a replay did. Matched is the sum of Replayed, Failed and Twice, but for a dry run.
type Result struct {
	// Queue is the work queue that the letters went to.
	Queue string
	// Seen is how many dead letters were looked at, Matched how many of them were picked.
	Seen, Matched int
	// Replayed is how many are in their queue again and no dead letters any more.
	Replayed int
	// Failed is how many were not taken; they are dead letters still.
	Failed int
	// Twice is how many may be in their queue again and be dead letters still, since the connection was lost, or the
	// replay interrupted, before the broker had said.
	Twice int
}

// Replay gives dead letters of a work queue back to it. Those that fail again while it runs are not taken again.
//
// They go through the default exchange under the queue's name, which reaches this queue and no other, and refuses a
// message for a queue that is gone. For a user who may not write there, they go through the exchange by which messages
// come back from the retry tiers; a message for a queue that is gone then ends in retry.lost.
//
// When ctx ends, nothing more is published, what is in flight is settled, and the error is the cause of ctx. When the
// connection is lost, the replay ends with rabbit.ErrNotConnected: begin it again for the rest. The other errors are those
// of [Letters.Count], and that of the first letter that the queue did not take. Result holds what was done in any case.
func (l *Letters) Replay(ctx context.Context, queue string, r Replay) (Result, error) {
	getter, err := l.conn.Getter(ctx, l.names.DeadLetterQueue(queue))
	if err != nil {
		return Result{Queue: queue}, err
	}
	taking, stopTaking := getter.Context(ctx)
	defer stopTaking()
	outliving, stopOutliving := outlive(ctx, grace)
	defer stopOutliving()
	publishing, stopPublishing := getter.Context(outliving)
	defer stopPublishing()

	publisher := rabbit.NewPublisher(l.conn, rabbit.PublisherConfig{MaxInFlight: window, MaxBody: 512 << 20})
	p := &replaying{
		Replay: r, letters: l, getter: getter, publisher: publisher, pipeline: publisher.Pipeline(),
		taking: taking, publishing: publishing, result: Result{Queue: queue},
	}
	err = p.run()
	_ = p.pipeline.Flush(publishing) // settle sees each of them
	_ = publisher.Close(publishing)
	ended := cmp.Or(context.Cause(taking), context.Cause(publishing)) // before the getter is closed; either may be first to know
	closing := p.close(ctx)
	switch {
	case ended != nil:
		return p.result, fmt.Errorf("the replay ended early: %w", ended)
	case p.stopped != nil:
		return p.result, p.stopped
	case err != nil:
		return p.result, err
	default:
		return p.result, closing
	}
}

// outlive returns a context that ends some time after another one.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel(context.Canceled)
	}
}

// replaying is one replay. What it takes and does not ack goes back when its getter is closed.
type replaying struct {
	Replay
	letters   *Letters
	getter    *rabbit.Getter
	publisher *rabbit.Publisher
	pipeline  *rabbit.Pipeline

	// Both end when the getter has lost its channel, since nothing can be acked from then on: what is published later
	// would come twice. Publishing outlives the caller's context for a while, taking ends with it.
	taking, publishing context.Context //nolint:containedctx // of one call

	exchange string
	tried    bool  // the exchange takes messages for this queue
	unsure   int   // acks that the broker may not have seen
	stopped  error // why no more may be published
	result   Result
}

func (p *replaying) run() error {
	for p.result.Seen < p.getter.State().Ready && p.stopped == nil && (p.Limit <= 0 || p.result.Matched < p.Limit) {
		d, ok, err := p.getter.Get(p.taking)
		if err != nil || !ok {
			return err
		}
		p.unsure = 0
		p.result.Seen++
		l := letter(p.result.Queue, d)
		if p.Select != nil && !p.Select(l) {
			continue
		}
		if p.Wait != nil && !p.DryRun {
			if err := p.Wait(p.taking); err != nil {
				return err
			}
		}
		p.result.Matched++
		p.one(l)
	}
	return nil
}

func (p *replaying) one(l *Letter) {
	if p.DryRun {
		p.tell(l, nil)
		return
	}
	m := &rabbit.Publication{Exchange: p.exchange, RoutingKey: p.result.Queue, Mandatory: true, Publishing: l.revived()}
	if !p.tried || p.Wait != nil { // a refusal closes the channel, and what else is on it would be in doubt
		p.settle(l, p.alone(m))
		return
	}
	if err := p.pipeline.Publish(p.publishing, m, func(err error) error { p.settle(l, err); return err }); err != nil {
		p.settle(l, err)
	}
}

// alone publishes a message and waits for its confirm. The first time it finds the exchange that this user may publish
// to.
func (p *replaying) alone(m *rabbit.Publication) error {
	err := p.publisher.Publish(p.publishing, m)
	if errors.Is(err, rabbit.ErrRefused) && !p.tried && p.exchange == "" {
		if _, gone := p.letters.conn.Inspect(p.publishing, p.result.Queue); errors.Is(gone, rabbit.ErrNotFound) {
			return fmt.Errorf("%w: %w", rabbit.ErrUnroutable, gone)
		}
		p.exchange = p.letters.names.RetryReturnExchange(cmp.Or(p.Service, p.letters.names.Consumer(p.result.Queue)))
		m.Exchange = p.exchange
		if again := p.publisher.Publish(p.publishing, m); again != nil {
			return errors.Join(err, again)
		}
		err = nil
	}
	p.tried = p.tried || err == nil
	return err
}

// settle ends one letter, once it is known what became of its copy.
func (p *replaying) settle(l *Letter, err error) {
	if err == nil {
		err = p.getter.Ack(l.Delivery)
		if err == nil {
			p.unsure++
			p.result.Replayed++
		} else {
			p.result.Twice++
			p.stopped = err
		}
		p.tell(l, err)
		return
	}
	switch {
	case errors.Is(err, rabbit.ErrUnconfirmed):
		p.result.Twice++
		p.stopped = err
	case errors.Is(err, rabbit.ErrTooLarge), errors.Is(err, rabbit.ErrInvalid):
		p.result.Failed++
	default:
		p.result.Failed++
		p.stopped = err // what goes for this one goes for the next
	}
	p.tell(l, err)
}

func (p *replaying) tell(l *Letter, err error) {
	if p.Done != nil {
		p.Done(l, err)
	}
}

// close gives back what was not replayed. Where that fails, nobody knows of the last acks whether the broker has them.
func (p *replaying) close(ctx context.Context) error {
	err := p.getter.Close(ctx)
	if err != nil {
		p.result.Replayed -= p.unsure
		p.result.Twice += p.unsure
	}
	return err
}
