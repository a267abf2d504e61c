package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// window bounds the replayed messages that await their confirm: those may arrive twice if this process is killed.
	window = 32
	// grace is how long an interrupted replay waits for outstanding confirms.
	grace = 5 * time.Second
)

// A Replay says which dead letters to replay. The zero value replays all that are in the queue when it begins.
type Replay struct {
	// Select returns whether to replay a letter; nil selects all.
	Select func(*Letter) bool
	// Limit is the most letters to replay; 0 is no limit.
	Limit int
	// DryRun calls Done for the letters that would be replayed, and changes nothing.
	DryRun bool
	// Wait is called before each publish, to pace the replay; its error ends it. Each message is confirmed before the next
	// Wait. The broker ends a replay that holds letters which it did not select for longer than the consumer timeout
	// (30 min). Optional.
	Wait func(context.Context) error
	// Done is called with each selected letter once its outcome is known: nil if it was replayed. Optional.
	Done func(*Letter, error)
}

// A Result counts what a replay did. Except for a dry run, Matched is the sum of Replayed, Failed and Unsure.
type Result struct {
	// Seen is how many dead letters were read, Matched how many of them were selected.
	Seen, Matched int
	// Replayed is how many are back in their queue and no longer dead letters.
	Replayed int
	// Failed is how many the queue did not take; they are still dead letters.
	Failed int
	// Unsure is how many may be back in their queue and still dead letters, because the connection was lost, or the replay
	// interrupted, before the broker had answered.
	Unsure int
}

// Replay puts dead letters of a work queue back into it. A letter that fails again meanwhile is not replayed again.
//
// Letters go through the default exchange under the queue's name, which reaches this queue only and reports if it is
// gone. A user who may not write there goes through the exchange of the retry tiers; a message whose queue is gone then
// ends in retry.lost.
//
// While the broker blocks publishers, because it is short of memory or disk, Replay waits. When ctx ends it publishes
// nothing more, waits up to 5 s for outstanding confirms, and returns the cause of ctx. When the consuming connection
// is lost it returns rabbit.ErrNotConnected: start again for the rest. It also fails as [Store.Count] does, and with
// the error of the first letter that the queue did not take. The Result is valid in every case.
func (s *Store) Replay(ctx context.Context, from Source, r Replay) (Result, error) {
	if r.Done == nil {
		r.Done = func(*Letter, error) {}
	}
	browser, err := s.consume.Browse(ctx, from.Name)
	if err != nil {
		return Result{}, err
	}
	taking, stopTaking := browser.Context(ctx)
	defer stopTaking()
	outliving, stopOutliving := contexts.Outlasting(ctx, grace, nil)
	defer stopOutliving()
	publishing, stopPublishing := browser.Context(outliving)
	defer stopPublishing()

	publisher := rabbit.NewPublisher(s.publish, rabbit.PublisherConfig{MaxInFlight: window, MaxBody: 512 << 20})
	p := &replaying{
		Replay: r, store: s, browser: browser, publisher: publisher, pipeline: publisher.Pipeline(),
		taking: taking, publishing: publishing, from: from,
	}
	err = p.run()
	_ = p.pipeline.Flush(publishing) // settle gets each outcome
	_ = publisher.Close(publishing)
	ended := cmp.Or(context.Cause(taking), context.Cause(publishing)) // before the browser is closed; either may notice first
	unsure := browser.Unsure()
	closing := browser.Close(ctx) // puts back what was not replayed
	if closing != nil {           // the broker may not have seen the latest acks
		p.result.Replayed -= unsure
		p.result.Unsure += unsure
	}
	if ended != nil {
		ended = fmt.Errorf("the replay ended early: %w", ended)
	}
	return p.result, cmp.Or(ended, p.stopped, err, closing)
}

// replaying is one replay. Letters that it takes and does not ack go back when its browser is closed.
type replaying struct {
	Replay
	store     *Store
	from      Source
	browser   *rabbit.Browser
	publisher *rabbit.Publisher
	pipeline  *rabbit.Pipeline

	// Both end when the browser loses its channel: nothing can be acked from then on, so a later publish would arrive
	// twice. Taking ends with the caller's context, publishing outlives it by grace.
	taking, publishing context.Context //nolint:containedctx // of one call

	exchange string
	tried    bool  // the exchange takes messages for this queue
	stopped  error // why no more may be published
	result   Result
}

func (p *replaying) run() error {
	for p.result.Seen < p.browser.State().Ready && p.stopped == nil && (p.Limit <= 0 || p.result.Matched < p.Limit) {
		d, ok, err := p.browser.Get(p.taking)
		if err != nil || !ok {
			return err
		}
		p.result.Seen++
		l := p.from.letter(d)
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
		p.Done(l, nil)
		return
	}
	m := &rabbit.Publication{Exchange: p.exchange, RoutingKey: l.Queue, Mandatory: true, Publishing: p.from.returned(l)}
	if !p.tried || p.Wait != nil { // a refusal closes the channel, which would leave the others on it in doubt
		p.settle(l, p.alone(m))
		return
	}
	if err := p.pipeline.Publish(p.publishing, m, func(err error) error { p.settle(l, err); return err }); err != nil {
		p.settle(l, err)
	}
}

// alone publishes a message and waits for its confirm. The first call finds the exchange to which this user may
// publish.
func (p *replaying) alone(m *rabbit.Publication) error {
	err := p.publisher.Publish(p.publishing, m)
	if errors.Is(err, rabbit.ErrRefused) && !p.tried && p.exchange == "" {
		if _, gone := p.store.consume.Inspect(p.publishing, m.RoutingKey); errors.Is(gone, rabbit.ErrNotFound) {
			return fmt.Errorf("%w: %w", rabbit.ErrUnroutable, gone)
		}
		p.exchange = p.store.names.RetryReturnExchange(p.from.Service)
		m.Exchange = p.exchange
		if again := p.publisher.Publish(p.publishing, m); again != nil {
			return errors.Join(err, again)
		}
		err = nil
	}
	p.tried = p.tried || err == nil
	return err
}

// settle acks a letter whose copy was confirmed, and counts the outcome.
func (p *replaying) settle(l *Letter, err error) {
	switch {
	case err == nil:
		p.result.Replayed++ // the end takes back those whose acks may be lost
		if err = p.browser.Ack(l.Delivery); err != nil {
			p.stopped = err
		}
	case errors.Is(err, rabbit.ErrUnconfirmed):
		p.result.Unsure++
		p.stopped = err
	case errors.Is(err, rabbit.ErrTooLarge), errors.Is(err, rabbit.ErrInvalid), p.from.Queue == "" && errors.Is(err, rabbit.ErrUnroutable):
		p.result.Failed++ // of this one alone
	default:
		p.result.Failed++
		p.stopped = err // the next would fail the same way
	}
	p.Done(l, err)
}
