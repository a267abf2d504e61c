package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// askTime is how long the processes of a service have to answer.
	askTime = time.Second
	// listTime is how long the management API has, after the broker has answered, where there is no next look.
	listTime = 10 * time.Second
	// sparing is how long the management API is left alone after a list, in multiples of the time that this took.
	sparing = 4
	// maxAsked is how long the names of the queues may be together, in bytes, for the management API to be asked for these
	// alone, which takes a request for each 1,024 bytes. Those of more queues are quicker to get in a list of all.
	maxAsked = 7000
)

// look is one run of `queues`.
type look struct {
	queuesOptions
	app    *App
	conn   *leveret.Conn
	api    *management.Client
	asker  *operator.Asker
	queues []shownQueue
	among  []shownQueue // all of the catalog

	stop     context.CancelFunc
	listings sync.WaitGroup
	coming   chan listing                 // from the management API; nil if it has not been asked
	listing  listing                      // the newest
	warned   bool                         // of its error
	spared   time.Time                    // the management API is not asked before
	unasked  error                        // why the processes of a service could not be asked; nil if they could
	answers  map[string][]operator.Report // of the processes, by service

	inspector *inspector
	skip      map[string]error // what the broker said of queues that it is not asked for again

	last     map[string]int // READY in the last sample
	lastTime time.Time
	took     time.Duration // the last sample
}

// listing is one answer of the management API.
type listing struct {
	queues map[string]management.Queue
	nodes  []management.Node
	err    error
	took   time.Duration
}

// look connects to look at queues. The caller closes it.
func (a *App) look(ctx context.Context, queues []shownQueue, o queuesOptions) (*look, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	api, err := a.management()
	if err != nil {
		a.close(ctx, conn)
		return nil, usage("", "%w", err)
	}
	l := &look{
		queuesOptions: o, app: a, conn: conn, api: api, asker: operator.NewAsker(conn), queues: queues, among: a.shownQueues(), stop: func() {},
		skip: map[string]error{},
	}
	l.inspector = newInspector(conn, l.patience())
	return l, nil
}

func (l *look) close(ctx context.Context) {
	l.stop()
	l.listings.Wait()
	l.app.close(ctx, l.conn, l.asker.Close)
}

// ask asks the management API in the background, unless that is being done, or was done at a cost to the broker that
// should not be its main work.
func (l *look) ask(ctx context.Context) {
	if l.coming != nil || time.Now().Before(l.spared) {
		return
	}
	names := l.named()
	began := time.Now()
	ctx, l.stop = context.WithCancel(ctx)
	coming := make(chan listing, 1)
	l.coming = coming
	l.listings.Go(func() {
		var got listing
		if got.queues, got.err = l.api.Queues(ctx, l.app.settings.vhost(), names...); got.err == nil {
			got.nodes, _ = l.api.Nodes(ctx) // which not every user may see
		}
		got.took = time.Since(began)
		coming <- got
	})
}

// named returns the names to ask the management API for; none if that is all queues.
func (l *look) named() []string {
	var names []string
	size := 0
	for _, q := range l.queues {
		names, size = append(names, q.name), size+len(q.name)
		if q.kind == kindProcess { // of which there may be many
			return nil
		}
	}
	if l.all || size > maxAsked {
		return nil
	}
	return names
}

// listed takes in the answer of the management API, which it awaits until enough.
func (l *look) listed(ctx context.Context, enough <-chan time.Time) {
	if l.coming == nil {
		return
	}
	select {
	case l.listing = <-l.coming:
		l.stop()
		l.coming, l.spared = nil, time.Now().Add(sparing*l.listing.took)
	case <-enough:
	case <-ctx.Done():
	}
}

// sample reads the queues once. It fails only if the broker itself does not answer. It waits for the management API as
// long as for the broker, and then listTime, or, under --watch, an interval: what is newest will do.
func (l *look) sample(ctx context.Context) ([]queueRow, error) {
	enough := time.NewTimer(time.Duration(l.every))
	defer enough.Stop()
	processes := slices.ContainsFunc(l.queues, func(q shownQueue) bool { return q.kind == kindProcess })
	if l.all || processes || len(l.named()) > 0 { // else the list would slow down the broker's own answers
		l.ask(ctx)
	}
	if processes && l.listing.queues == nil && l.listing.err == nil {
		l.listed(ctx, time.After(listTime))
	}
	queues := live(l.queues, l.among, l.listing.queues)
	if l.all {
		if l.listing.queues == nil {
			l.listed(ctx, nil)
		}
		if l.listing.queues == nil && l.listing.err != nil {
			return nil, Fail(ExitError, hint(l.listing.err), "--all: %w", l.listing.err)
		}
		queues = withOthers(queues, l.listing.queues, l.filter)
	}
	known := l.listing.queues != nil
	states, err := l.inspect(ctx, queues)
	if err != nil {
		return nil, err
	}
	l.ask(ctx)
	if !l.queuesOptions.watch {
		enough.Reset(listTime)
	}
	l.listed(ctx, enough.C)
	if l.listing.queues == nil && l.listing.err == nil && anyRefused(states) {
		l.listed(ctx, nil) // nothing else knows
	}
	if !known && l.listing.queues != nil {
		queues, states = l.completed(states)
	}
	reports := l.reports(ctx, queues, states)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return l.rows(queues, states, reports)
}

// completed returns the queues of a sample with those of single processes, and the states of all, where it was taken before
// the management API had answered: it then has the other queues alone.
func (l *look) completed(before []state) ([]shownQueue, []state) {
	queues := live(l.queues, l.among, l.listing.queues)
	states := make([]state, len(queues))
	for i, q := range queues {
		if q.kind == kindProcess {
			states[i].err = notAsked(q)
		} else {
			states[i], before = before[0], before[1:]
		}
	}
	return queues, states
}

// notAsked is why the broker is not asked for the queue of one process.
func notAsked(q shownQueue) error {
	return fmt.Errorf("the queue %s belongs to one process: %w", q.name, rabbit.ErrRefused)
}

func anyRefused(states []state) bool {
	for _, s := range states {
		if errors.Is(s.err, rabbit.ErrRefused) {
			return true
		}
	}
	return false
}

// inspect asks the broker for the queues, several at once. A queue that this user may not ask for is not asked for again;
// nor is one that did not exist, while the management API has not heard of it either: each costs a channel.
func (l *look) inspect(ctx context.Context, queues []shownQueue) ([]state, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	states := make([]state, len(queues))
	next := make(chan int)
	var looking sync.WaitGroup
	for range min(lookers, len(queues)) {
		looking.Go(func() {
			for i := range next {
				var err error
				if states[i], err = l.inspector.inspect(ctx, queues[i].name); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
feeding:
	for i, q := range queues {
		if q.kind == kindProcess {
			states[i].err = notAsked(q)
			continue
		}
		_, listed := l.listing.queues[q.name]
		if err := l.skip[q.name]; err != nil && (errors.Is(err, rabbit.ErrRefused) || l.listing.queues != nil && !listed) {
			states[i].err = err
			continue
		}
		select {
		case next <- i:
		case <-ctx.Done():
			break feeding
		}
	}
	close(next)
	looking.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	clear(l.skip)
	for i, s := range states {
		if s.err != nil {
			l.skip[queues[i].name] = s.err
		}
	}
	return states, nil
}
