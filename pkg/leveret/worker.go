package leveret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// WorkerConfig says how a worker serves. The zero value of a field is its default.
type WorkerConfig struct {
	// Middleware is put around every handler, the first outermost. It sees the message before it is decoded.
	Middleware []Middleware
	// Concurrency is how many messages of one queue are handled at once. Default 16.
	Concurrency int
	// Prefetch is how many messages of one queue the broker hands to this process ahead. Default 64, and no less than
	// Concurrency.
	Prefetch int
	// HandlerTimeout ends the context of a handler that takes longer. Default 5 min; it must stay below the broker's
	// consumer timeout, which is 30 min by default.
	HandlerTimeout time.Duration
	// StuckAfter is how long a handler may take to return after its context has ended. Then it is stuck, the worker
	// stops, and Run returns [ErrStuck]. Default 30 s.
	StuckAfter time.Duration
	// DrainTimeout is how long handlers may finish after Run's context has ended, before their own contexts end.
	// Default 30 s.
	DrainTimeout time.Duration
	// Stacks puts the stack of a panic into the dead letter. Stacks tell of the code: off by default.
	Stacks bool
}

func (c WorkerConfig) withDefaults() (WorkerConfig, error) {
	c.Concurrency = cmp.Or(c.Concurrency, 16)
	c.Prefetch = cmp.Or(c.Prefetch, max(64, c.Concurrency))
	c.HandlerTimeout = cmp.Or(c.HandlerTimeout, 5*time.Minute)
	c.StuckAfter = cmp.Or(c.StuckAfter, 30*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	switch {
	case c.Concurrency < 1 || c.Concurrency > 10_000:
		return c, Errorf(InvalidArgument, "Concurrency is %d; it must be between 1 and 10000", c.Concurrency)
	case c.Prefetch < c.Concurrency || c.Prefetch > 65_535:
		return c, Errorf(InvalidArgument, "Prefetch is %d; it must be between Concurrency, which is %d, and 65535", c.Prefetch, c.Concurrency)
	case c.HandlerTimeout < 0 || c.StuckAfter < 0 || c.DrainTimeout < 0:
		return c, Errorf(InvalidArgument, "HandlerTimeout, StuckAfter and DrainTimeout must be positive")
	}
	return c, nil
}

// A Worker serves what its service declared: it takes messages from the service's queues, hands them to the handlers,
// and does with them what the handlers' errors say.
type Worker struct {
	conn      *Conn // nil in a worker for tests that never runs
	service   *Service
	config    WorkerConfig
	log       *slog.Logger
	tel       *telemetry
	publisher *rabbit.Publisher
	calls     calls

	mu        sync.Mutex
	endpoints []*endpoint
	errs      []error
	running   bool

	stuck    chan error
	stuckNow atomic.Pointer[error]
}

// NewWorker makes a worker for a service. It does not block or connect. Register a handler for everything that the
// service declares, then call Run. A nil conn makes a worker that cannot Run, for tests of handlers.
func NewWorker(conn *Conn, service *Service, config WorkerConfig) (*Worker, error) {
	if service == nil {
		return nil, Errorf(InvalidArgument, "a worker needs a service")
	}
	names, requestQueues := topology.Names{}, ""
	if conn != nil {
		names, requestQueues = conn.names, conn.config.RequestQueueType
	}
	if err := errors.Join(service.err(), checkNames(service.Topology(names, requestQueues))); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Worker{conn: conn, service: service, config: config, stuck: make(chan error, 1), log: slog.New(slog.DiscardHandler)}
	if conn != nil {
		w.log, w.tel = conn.config.Logger.With("service", service.name), conn.tel
		return w, nil
	}
	offline, err := ConnConfig{}.withDefaults()
	if err == nil {
		w.tel, err = newTelemetry(offline)
	}
	return w, err
}

// register makes an endpoint of a handler. Mistakes are kept for Run.
func (w *Worker) register(c Contract, b *contractBase, name string, h Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	spec := b.spec
	what := fmt.Sprintf("the %s %q", spec.Kind, spec.Name)
	if name != "" {
		what += fmt.Sprintf(" as %q", name)
	}
	fail := func(format string, args ...any) { w.errs = append(w.errs, fmt.Errorf(format, args...)) }
	i := slices.IndexFunc(w.service.uses, func(u use) bool { return u.contract == c && u.name == name && u.role.serves() })
	switch {
	case w.running:
		fail("a handler for %s was registered after Run had begun", what)
	case b.err() != nil:
		fail("%w", b.err())
	case i < 0:
		fail("%w: the service %q has a handler for %s, but does not say that it serves it", ErrUndeclared, w.service.name, what)
	case w.endpoint(c, name) != nil:
		fail("%s has two handlers", what)
	default:
		w.endpoints = append(w.endpoints, newEndpoint(w, w.service.uses[i], h))
	}
}

func (w *Worker) endpoint(c Contract, name string) *endpoint {
	for _, e := range w.endpoints {
		if e.contract == c && e.use.name == name {
			return e
		}
	}
	return nil
}

// Check returns all that is wrong between the service and the handlers that were registered so far: contracts without a
// handler, handlers without a contract, two for one. Run returns the same.
func (w *Worker) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.check()
}

func (w *Worker) check() error {
	errs := slices.Clone(w.errs)
	for _, u := range w.service.serves() {
		if w.endpoint(u.contract, u.name) == nil {
			what := u.contract.Spec().Name
			if u.name != "" {
				what += fmt.Sprintf(" as %q", u.name)
			}
			errs = append(errs, fmt.Errorf("%w: the service %q %s %s, but has no handler for it", ErrUndeclared, w.service.name, u.role, what))
		}
	}
	return errors.Join(errs...)
}

// Run takes and handles messages until ctx ends. Then it takes no more, gives those not yet begun back to their queues,
// lets the handlers that run finish within the drain time, settles what they did, and returns nil. Requests that are
// here but not begun are answered within that time too: no other worker could tell that they were not. It waits through
// lost connections. It returns an error at once where handlers and service do not match, [ErrClosed] when the connection
// was closed, and [ErrStuck] when a handler did not return after its context had ended: as soon as the others have
// finished, or the drain time is over. That goroutine then still runs, and the process should exit. Run once.
func (w *Worker) Run(ctx context.Context) error {
	endpoints, err := w.begin()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w.publisher = rabbit.NewPublisher(w.conn.publish, rabbit.PublisherConfig{
		MaxBody: 1 << 30, // what came from this broker may go back to it
	})
	ended := make(chan error, 1)
	go func() { ended <- w.consume(ctx, stop, endpoints) }()
	select {
	case err = <-ended:
	case err = <-w.stuck: // what does not end now is not waited for again
		stop()
		drained := time.NewTimer(w.config.DrainTimeout)
		defer drained.Stop()
		select {
		case others := <-ended:
			err = errors.Join(err, others)
		case <-drained.C:
		}
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = w.publisher.Close(closing)
	return err
}

// consume runs the consumers until ctx ends, or one of them, and with it ctx, by stop. What callers tell is heard for as
// long as their requests are handled.
func (w *Worker) consume(ctx context.Context, stop func(), endpoints []*endpoint) error {
	var control, consumers sync.WaitGroup
	hearing, deaf := context.WithCancel(context.WithoutCancel(ctx))
	defer control.Wait()
	defer deaf()
	if c := w.control(endpoints); c != nil {
		control.Go(func() { _ = c.Run(hearing) })
	}
	errs := make([]error, len(endpoints))
	for i, e := range endpoints {
		consumers.Go(func() {
			errs[i] = e.consumer.Run(ctx)
			stop()
		})
	}
	consumers.Wait()
	for i, err := range errs {
		if errors.Is(err, rabbit.ErrAbandoned) {
			errs[i] = fmt.Errorf("%w: %w", ErrStuck, err)
		}
	}
	return errors.Join(errs...)
}

func (w *Worker) begin() ([]*endpoint, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.conn == nil:
		return nil, Errorf(FailedPrecondition, "a worker without a connection cannot run")
	case w.running:
		return nil, Errorf(FailedPrecondition, "the worker runs already, or has run")
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	if len(w.endpoints) == 0 {
		return nil, fmt.Errorf("%w: the service %q serves nothing", ErrUndeclared, w.service.name)
	}
	w.running = true
	for _, e := range w.endpoints {
		e.consumer = w.consumer(e)
	}
	return w.endpoints, nil
}

// consumer makes the consumer of an endpoint. Requests come over the publishing connection, on which they are answered.
func (w *Worker) consumer(e *endpoint) *rabbit.Consumer {
	request := e.spec.Kind == KindRequest
	conn := w.conn.consume
	if request {
		conn = w.conn.publish
	}
	return rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue:        e.queue,
		Tag:          w.tag(),
		Concurrency:  w.config.Concurrency,
		Prefetch:     w.config.Prefetch,
		Careful:      !request,
		Stamp:        request, // its deadline goes on while all handlers are busy
		DrainTimeout: w.config.DrainTimeout,
		Grace:        w.config.StuckAfter,
		Finish:       request, // a request that came back would count as one that somebody has begun
		Logger:       w.log,
		Handle:       e.handle,
		Setup:        w.conn.setup(conn, w.conn.declarer, e.topology),
	})
}

// Ready returns nil while the worker does its work: connected, every queue consumed, no handler stuck. Else it says what
// is wrong.
func (w *Worker) Ready() error {
	w.mu.Lock()
	endpoints, running := slices.Clone(w.endpoints), w.running
	w.mu.Unlock()
	if !running {
		return errors.New("the worker does not run yet")
	}
	errs := []error{w.conn.Ready()}
	for _, e := range endpoints {
		errs = append(errs, e.ready())
	}
	if err := w.stuckNow.Load(); err != nil {
		errs = append(errs, *err)
	}
	return errors.Join(errs...)
}

// Service returns the service that the worker serves.
func (w *Worker) Service() *Service { return w.service }

// Queues returns the names of the queues that the worker takes messages from, sorted.
func (w *Worker) Queues() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, e := range w.endpoints {
		names = append(names, e.queue)
	}
	slices.Sort(names)
	return names
}

// Process handles one message as Run does with what comes from the queue: through middleware, deadline, decoding and
// handler to the verdict, but touches no broker. The reply of a request is in m.Reply. It is what package leverettest
// is built on, and for bringing messages in from elsewhere. For an event with several subscriptions, m.Queue chooses.
// Where the worker has no handler for the message, or its registration is wrong, there is no verdict, only an error.
func (w *Worker) Process(ctx context.Context, m *Message) Outcome {
	w.mu.Lock()
	var found *endpoint
	for _, e := range w.endpoints {
		if e.contract == m.Contract && (m.Queue == "" || m.Queue == e.queue) {
			found = e
			break
		}
	}
	err := errors.Join(w.errs...)
	w.mu.Unlock()
	if err == nil && found == nil {
		err = fmt.Errorf("%w: the worker has no handler for %s", ErrUndeclared, nameOf(m.Contract))
	}
	if err != nil {
		return Outcome{Err: err}
	}
	m.Queue, m.Attempt = found.queue, max(m.Attempt, 1)
	if found.spec.Kind == KindRequest && m.Deadline.IsZero() {
		m.Deadline = time.Now().Add(found.spec.Timeout)
	}
	return found.process(ctx, m)
}

// watch reports a handler that is still running long after its context has ended.
func (w *Worker) watch(queue string, m *Message) *time.Timer {
	limit := w.config.HandlerTimeout
	if !m.Deadline.IsZero() {
		limit = min(limit, max(time.Until(m.Deadline), 0))
	}
	limit += w.config.StuckAfter
	return time.AfterFunc(limit, func() {
		err := fmt.Errorf("%w: the message %s of the queue %s has been in its handler for more than %v", ErrStuck, m.ID, queue, limit)
		w.stuckNow.Store(&err)
		select {
		case w.stuck <- err:
		default:
		}
	})
}

func (w *Worker) names() topology.Names {
	if w.conn == nil {
		return topology.Names{}
	}
	return w.conn.names
}

func (w *Worker) requestQueueType() string {
	if w.conn == nil {
		return "classic"
	}
	return w.conn.config.RequestQueueType
}

func (w *Worker) instance() string {
	if w.conn == nil {
		return "test"
	}
	return w.conn.config.Instance
}

// tag is what consumers are called in the management UI.
func (w *Worker) tag() string {
	tag := w.service.name + "@" + w.instance()
	if v := w.conn.config.Version; v != "" {
		tag += " " + v
	}
	return tag
}
