package leveret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// WorkerConfig says how a worker serves. The zero value of a field is its default.
type WorkerConfig struct {
	// Concurrency is how many messages of one queue are handled at once. Default 16.
	Concurrency int
	// Prefetch is how many messages of one queue the broker hands to this process ahead. Default 64, and no less than
	// Concurrency.
	Prefetch int
	// StuckAfter is how long a handler may take to return after its context has ended. Then it is stuck, the worker
	// stops, and Run returns [ErrStuck]. Default 30 s.
	StuckAfter time.Duration
	// DrainTimeout is how long handlers may finish after Run's context has ended, before their own contexts end.
	// Default 30 s.
	DrainTimeout time.Duration
	// NoQuarantine handles every message as it comes, however often it came back to its queue. By default one that came
	// back three times is suspected of crashing its workers: it is copied to the queue quarantine.<service>, and handled
	// from there while no other command or event of this worker is; requests wait for it, up to 5 s. If the worker crashes
	// three times over it even so, it is dead-lettered. Before RabbitMQ 4.3, where orderly stops count as well, a
	// message is first sent to the end of its queue.
	NoQuarantine bool
	// Stacks puts the stack of a panic into the dead letter. Stacks reveal the code: off by default.
	Stacks bool
	// ReplyTo are further addresses that requests may be answered to: names of queues, or their beginnings followed by *.
	// The default is none: a request is handled only if its reply_to is empty, direct reply-to, a queue that the broker
	// has named (amq.gen-*), or one that a [Client] collects replies in (reply.*, behind the namespace); in the isolated
	// layout, only in the first and the last case. The answers to further addresses go through the default exchange,
	// where the worker may write to every queue: a caller could make it write where the caller may not.
	ReplyTo []string
	// OnReady is called once, when every queue has been consumed for the first time. It must not block. Optional.
	OnReady func()
}

func (c WorkerConfig) withDefaults() (WorkerConfig, error) {
	c.Concurrency = cmp.Or(c.Concurrency, 16)
	c.Prefetch = cmp.Or(c.Prefetch, max(64, c.Concurrency))
	c.StuckAfter = cmp.Or(c.StuckAfter, 30*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	switch {
	case c.Concurrency < 1 || c.Concurrency > 10_000:
		return c, Errorf(InvalidArgument, "Concurrency is %d; it must be between 1 and 10000", c.Concurrency)
	case c.Prefetch < c.Concurrency || c.Prefetch > 65_535:
		return c, Errorf(InvalidArgument, "Prefetch is %d; it must be between Concurrency, which is %d, and 65535", c.Prefetch, c.Concurrency)
	case c.StuckAfter < 0 || c.DrainTimeout < 0:
		return c, Errorf(InvalidArgument, "StuckAfter and DrainTimeout must be positive")
	}
	for _, pattern := range c.ReplyTo {
		if pattern == "" || strings.Contains(strings.TrimSuffix(pattern, "*"), "*") {
			return c, Errorf(InvalidArgument, "ReplyTo has %q; it must be a name, or the beginning of one and *", pattern)
		}
	}
	return c, nil
}

// A Worker serves handlers over RabbitMQ: it takes messages from their service's queues, hands them to the handlers,
// and does with them what the handlers' errors say.
type Worker struct {
	conn      *Conn
	handlers  *Handlers
	config    WorkerConfig
	log       *slog.Logger
	publisher *rabbit.Publisher
	endpoints []*endpoint
	consumers []*rabbit.Consumer   // one of each queue
	working   map[string]*endpoint // those of commands and events, by their queues
	calls     calls
	attempts  sync.Map // what is being handled, of type *attempt

	running atomic.Bool
	silent  atomic.Int64 // how many queues have not been consumed yet

	gate           rabbit.Gate   // of its consumers; closed while it is paused
	redeclareEvery time.Duration // how often what it needs is declared again, on average

	stop  func()                // ends Run
	fatal atomic.Pointer[error] // why the worker ends by itself: a handler that got stuck, or a stream; else nil

	quarantineQueue string
	work, requests  *turns          // of the handlers of commands and events, and of requests
	suspected       chan struct{}   // wakes quarantine when this worker has found a suspect; room for one
	survived        map[string]bool // suspects whose last trial was interrupted, but not by a crash; by message id
}

// NewWorker makes a worker for handlers. It does not block or connect; Run does. It returns what is wrong with the
// handlers, as [Handlers.Err] does, and otherwise freezes the set: a handler that is registered later is a mistake,
// which Run and Ready report.
func NewWorker(conn *Conn, handlers *Handlers, config WorkerConfig) (*Worker, error) {
	if conn == nil {
		return nil, Errorf(InvalidArgument, "a worker needs a connection")
	}
	if err := handlers.Err(); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	service := handlers.service
	if err := service.checkNames(conn.names); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if limit, timeout := conn.config.ConsumerTimeout, handlers.config.HandlerTimeout; timeout > limit-config.StuckAfter {
		return nil, Errorf(InvalidArgument, "HandlerTimeout (worker.handler_timeout) is %v and StuckAfter (worker.stuck_after) %v: together no more than "+
			"ConsumerTimeout (broker.consumer_timeout), which is %v; the broker takes a message back after that", timeout, config.StuckAfter, limit)
	}
	if len(service.serves()) == 0 {
		return nil, withCode("%w: the service %q serves nothing", ErrUndeclared, service.name)
	}
	config.ReplyTo = append(conn.names.ReplyAddresses(), config.ReplyTo...)
	w := &Worker{
		conn: conn, handlers: handlers, config: config, log: conn.config.Logger.With("service", service.name),
		working:   make(map[string]*endpoint),
		calls:     calls{running: make(map[string][]*call), gone: make(map[string]time.Time)},
		suspected: make(chan struct{}, 1), work: newTurns(), requests: newTurns(), survived: map[string]bool{},
		quarantineQueue: conn.names.Quarantine(service.name), redeclareEvery: redeclareEvery,
	}
	for _, h := range handlers.seal() {
		w.endpoints = append(w.endpoints, newEndpoint(w, h))
	}
	for _, e := range w.endpoints {
		if e.consumer == nil {
			w.consumers = append(w.consumers, w.consumer(slices.DeleteFunc(slices.Clone(w.endpoints), func(m *endpoint) bool { return m.queue != e.queue })))
			if e.spec.Kind != KindRequest {
				w.working[e.queue] = e
			}
		}
	}
	w.silent.Store(int64(len(w.consumers)))
	return w, nil
}

// Run takes and handles messages until ctx ends. Then it takes no more, gives those not yet begun back to their queues,
// lets the handlers that run finish within the drain time, settles what they did, and returns nil. Requests that are
// here but not begun are answered within that time too: no other worker could know that they were not begun. It waits
// through lost connections. It returns [ErrClosed] when the connection was closed, and [ErrStuck] when a handler did
// not return after its context had ended: as soon as the others have finished, or are stuck as well. That goroutine
// then still runs, and the process should exit. Run may be called only once.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.handlers.lateErr(); err != nil {
		return Errorf(FailedPrecondition, "%w", err)
	}
	if w.running.Swap(true) {
		return Errorf(FailedPrecondition, "the worker runs already, or has run")
	}
	if err := w.conn.Await(ctx); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	if err := errors.Join(w.checkChannels(w.conn.consume, "commands and events", len(w.working)),
		w.checkChannels(w.conn.publish, "requests", len(w.consumers)-len(w.working))); err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(ctx)
	defer w.stop()
	w.publisher = rabbit.NewPublisher(w.conn.publish, rabbit.PublisherConfig{
		MaxBody: 1 << 30, // what came from this broker may go back to it
	})
	err := w.consume(ctx)
	if fatal := w.fatal.Load(); fatal != nil {
		err = errors.Join(*fatal, err)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = w.publisher.Close(closing)
	return byCode(err, Unknown)
}

// consume runs one consumer per queue until ctx ends, and returns when all have drained. A consumer that ends early
// stops the others. What runs beside them, the watch over stuck handlers and the consumer of cancellations, ends only
// after the last handler.
func (w *Worker) consume(ctx context.Context) error {
	var beside, consumers sync.WaitGroup
	handling, handled := context.WithCancel(context.WithoutCancel(ctx))
	defer beside.Wait()
	defer handled()
	beside.Go(func() { w.watch(handling) })
	var needed topology.Topology
	control := w.control()
	if !control.Empty() {
		beside.Go(func() { w.listen(handling, control) })
	}
	for _, e := range w.endpoints {
		needed.Add(e.topology)
	}
	if !w.conn.config.NoDeclare { // or each turn might be another refusal
		needed.Add(control)
	}
	if !needed.Empty() {
		beside.Go(func() { w.redeclare(ctx, needed) })
	}
	if !w.config.NoQuarantine && slices.ContainsFunc(w.endpoints, func(e *endpoint) bool { return e.use.works() }) {
		consumers.Go(func() { w.quarantine(ctx) })
	}
	errs := make([]error, len(w.consumers))
	for i, c := range w.consumers {
		consumers.Go(func() {
			errs[i] = c.Run(ctx)
			w.stop()
		})
	}
	consumers.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	var declared topology.Topology // needed is read beside this
	declared.Add(needed, control)
	w.conn.declarer.Release(closing, declared) // their connection may live on
	return errors.Join(errs...)
}

// redeclareEvery is how often a worker declares again what it needs, on average. To RabbitMQ 4.3, a binding that exists
// is as costly as a new one: some 2 ms for all of a queue's.
const redeclareEvery = 15 * time.Second

// redeclare declares what is needed again and again, until ctx ends. A deleted exchange, for instance, is noticed by
// nobody who only consumes; and a publisher that declares it cannot know what was bound to it.
func (w *Worker) redeclare(ctx context.Context, needed topology.Topology) {
	for said := "<nil>"; ; {
		contexts.Sleep(ctx, w.redeclareEvery/2+rand.N(w.redeclareEvery))
		if ctx.Err() != nil {
			return
		}
		err := w.conn.declarer.Refresh(ctx, needed, w.redeclareEvery/2) // other workers may have declared some of it
		if err != nil && fmt.Sprint(err) != said && ctx.Err() == nil {
			w.log.WarnContext(ctx, "cannot declare", "error", err)
		}
		said = fmt.Sprint(err)
	}
}

// consuming is called once for each queue, when it is consumed for the first time.
func (w *Worker) consuming() {
	if w.silent.Add(-1) == 0 && w.config.OnReady != nil {
		w.config.OnReady()
	}
}

// channelsBeside is how many channels of a connection consumers leave to publishing, declaring, control and quarantine.
const channelsBeside = 8

// checkChannels returns an error if a connection has too few channels for n queues: one each.
func (w *Worker) checkChannels(conn *rabbit.Conn, kind string, n int) error {
	if limit := conn.State().Channels; n+channelsBeside > limit {
		return Errorf(FailedPrecondition, "the service %q takes %s from %d queues, over a channel each; the broker allows a connection %d (channel_max), "+
			"of which %d are for other things: split the service, or raise channel_max", w.Service().name, kind, n, limit, channelsBeside)
	}
	return nil
}

// Pause makes the worker take no more messages until Resume: it leaves them in their queues, for others or for later.
// Commands and events that are here and not begun go back; requests that are here are still answered. Running handlers
// finish, and the worker stays connected. A command or an event that fails meanwhile, and could be tried again, goes
// back to its queue: that is no attempt.
//
// The reason is what [Worker.Ready] returns meanwhile. On a paused worker, Pause changes the reason. Pause does not
// block, and may be called at any time, also before Run.
func (w *Worker) Pause(reason error) { w.gate.Close(reason) }

// Resume ends a pause. It does nothing if there is none.
func (w *Worker) Resume() { w.gate.Open() }

// Ready returns nil while the worker does its work: connected, every queue consumed and bound, no handler stuck, not
// paused. Else it says what is wrong: a queue that does not exist is [NotFound], for instance, and a refusal
// [PermissionDenied].
func (w *Worker) Ready() error {
	if !w.running.Load() {
		return byCode(errors.New("the worker does not run yet"), Unavailable)
	}
	errs := []error{w.conn.Ready(), w.handlers.lateErr()}
	if reason := w.gate.Err(); reason != nil {
		errs = append(errs, fmt.Errorf("paused: %w", reason))
	} else {
		for _, e := range w.endpoints {
			errs = append(errs, e.ready())
		}
	}
	if err := w.fatal.Load(); err != nil {
		errs = append(errs, *err)
	}
	return byCode(errors.Join(errs...), Unavailable)
}

// Service returns the service that the worker serves.
func (w *Worker) Service() *Service { return w.handlers.service }

// tag is what consumers are called in the management UI.
func (w *Worker) tag() string {
	return strings.TrimSpace(w.Service().name + "@" + w.conn.config.Instance + " " + w.conn.config.Version)
}
