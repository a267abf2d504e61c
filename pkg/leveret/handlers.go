package leveret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// HandlersConfig says how messages are handled. The zero value of a field is its default.
type HandlersConfig struct {
	// Middleware is put around every handler, the first outermost. It sees the message before it is decoded.
	Middleware []Middleware
	// HandlerTimeout ends the context of a handler that takes longer. Default 5 min. Over RabbitMQ it must stay below the
	// broker's consumer timeout: see [ConnConfig].ConsumerTimeout.
	HandlerTimeout time.Duration
	// OnOutcome is called once for each message, after it was settled or could not be: see [Outcome]. It runs in the
	// message's goroutine, several at once, and should return quickly. The contract of a message that belongs to none of those
	// of its queue is named "(none)": see [Address]. Optional.
	OnOutcome func(ctx context.Context, m *Message, o Outcome)
}

// Handlers are what a service does with the messages that it serves, whatever transport brings them: a [Worker] brings
// those of RabbitMQ, package leverettest those of a test. Make them with [NewHandlers], register a handler for
// everything that the service serves, then hand them to the transports. Handlers are safe for concurrent use.
type Handlers struct {
	service *Service
	config  HandlersConfig

	mu     sync.RWMutex
	set    map[use]*handler
	errs   []error // wrong registrations
	sealed bool
	late   []error // registrations after a transport took the set
}

// handler is one registered handler.
type handler struct {
	handlers *Handlers
	use      use
	spec     Spec
	fresh    Handler // see [OnFresh]; nil for none
	scope    string  // what ids derived from a message depend on beside its id
	run      Handler // deadline, recovery, the user's middleware, decoding, and the user's function

	// quickest is a minimum of how long requests took to handle. A quicker handling lowers it to its own time; a slower
	// one raises it, but by an eighth at most. measured is when quickest was last set; it is used for a second from then.
	// Both in nanoseconds.
	quickest, measured atomic.Int64
}

// NewHandlers makes an empty set of handlers for a service. It never fails: mistakes are kept for [Handlers.Err], which
// NewWorker asks.
func NewHandlers(service *Service, config HandlersConfig) *Handlers {
	h := &Handlers{service: service, config: config, set: make(map[use]*handler)}
	h.config.HandlerTimeout = cmp.Or(config.HandlerTimeout, 5*time.Minute)
	if config.HandlerTimeout < 0 {
		h.errs = append(h.errs, Errorf(InvalidArgument, "HandlerTimeout is %v; it must be positive", config.HandlerTimeout))
	}
	return h
}

var errNoHandlers = errors.New("there are no handlers: make them with NewHandlers, for a service")

// register keeps a handler, or what is wrong with it. On nil Handlers it does nothing: those are refused by every
// transport.
func (h *Handlers) register(c Contract, s subscription, run Handler) {
	if h == nil || h.service == nil {
		return
	}
	what := nameOf(c) + as(s.name)
	h.mu.Lock()
	defer h.mu.Unlock()
	fail := func(format string, args ...any) { h.errs = append(h.errs, fmt.Errorf(format, args...)) }
	spec := c.Spec()
	this := use{spec.Kind.ServerRole(), c, s.name}
	switch {
	case h.sealed:
		h.late = append(h.late, fmt.Errorf("a handler for %s was registered after the handlers had been given to a worker", what))
	case !h.service.used[this]:
		h.errs = append(h.errs, cmp.Or(h.service.twin(c), fmt.Errorf(
			"%w: the service %q has a handler for %s, but does not say that it serves it", ErrUndeclared, h.service.name, what)))
	case run == nil:
		fail("the handler for %s is nil", what)
	case h.set[this] != nil:
		fail("%s has two handlers", what)
	case s.fresh != nil && !spec.exclusive(s.name):
		fail("the handler for %s has OnFresh, which is for queues that belong to one process: subscribe per process", what)
	default:
		added := &handler{handlers: h, use: this, spec: spec, fresh: s.fresh, scope: h.service.name + " " + what}
		added.run = chain(run, append([]Middleware{added.limited, recovered}, h.config.Middleware...))
		h.set[this] = added
	}
}

// as names a subscription in a sentence; the plain one needs no name.
func as(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" as %q", name)
}

// Service returns the service that the handlers are for.
func (h *Handlers) Service() *Service { return h.service }

// Err returns all that is wrong with the service, its contracts and their handlers, in plain words: what is declared
// and has no handler, a handler for what is not declared, two for one, one that came too late. It returns nil if
// nothing is.
func (h *Handlers) Err() error {
	if h == nil || h.service == nil {
		return errNoHandlers
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	errs := slices.Concat([]error{h.service.Err()}, h.errs, h.late)
	for _, u := range h.service.serves() {
		if h.set[u] == nil {
			errs = append(errs, fmt.Errorf("%w: the service %q %s %s%s, but has no handler for it",
				ErrUndeclared, h.service.name, u.role, u.contract.Spec().Name, as(u.name)))
		}
	}
	return errors.Join(errs...)
}

// seal lets no more handlers in, and returns them in the order in which the service declares what they are for.
func (h *Handlers) seal() []*handler {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = true
	var all []*handler
	for _, u := range h.service.serves() {
		all = append(all, h.set[u])
	}
	return all
}

// lateErr returns the registrations that came after seal.
func (h *Handlers) lateErr() error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return errors.Join(h.late...)
}

// Process handles one message, whatever brought it: it finds the handler by m.Contract and m.Subscription, runs it
// behind deadline, recovery, middleware and decoding, and judges the error. The reply to a request is what m.ReplyJSON
// returns. A request reaches no handler if it has expired, if it was delivered before and is not idempotent, or if less
// time is left than even the quickest of the last handlings took. Then settle, unless it is nil, does what the verdict
// says and returns why it could not; and OnOutcome is called. Process returns when all of that is done.
//
// Where h has no handler for the message, or handlers were registered wrongly, the outcome has no verdict, only an
// error, and neither settle nor OnOutcome is called. Process sets what m leaves out of Attempt and, for a request, of
// Deadline.
func (h *Handlers) Process(ctx context.Context, m *Message, settle func(context.Context, Outcome) error) Outcome {
	found, err := h.find(m)
	if err != nil {
		return Outcome{Err: err}
	}
	m.Attempt = max(m.Attempt, 1)
	if found.spec.Kind == KindRequest && m.Deadline.IsZero() {
		m.Deadline = time.Now().Add(found.spec.Timeout)
	}
	return found.process(ctx, m, settle)
}

func (h *Handlers) find(m *Message) (*handler, error) {
	if h == nil || h.service == nil {
		return nil, errNoHandlers
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.errs) > 0 {
		return nil, errors.Join(h.errs...)
	}
	if m.Contract != nil {
		if found := h.set[use{m.Contract.Spec().Kind.ServerRole(), m.Contract, m.Subscription}]; found != nil {
			return found, nil
		}
	}
	return nil, cmp.Or(h.service.twin(m.Contract),
		fmt.Errorf("%w: the service %q has no handler for %s", ErrUndeclared, h.service.name, nameOf(m.Contract)))
}

// errAbandoned is returned by a settle function if the message was settled already, since its handler did not return.
var errAbandoned = errors.New("the handler returned too late")

// process refuses, handles and judges a message, and finishes it.
func (h *handler) process(ctx context.Context, m *Message, settle func(context.Context, Outcome) error) Outcome {
	ctx = handlingContext{Context: ctx, handling: &handling{message: m, scope: h.scope}}
	o := h.refuse(ctx, m)
	if o.Verdict == 0 {
		err := h.run(ctx, m)
		if err != nil && m.Redelivered && h.spec.Kind == KindRequest && CodeOf(err).retryable() {
			err = fmt.Errorf("%w: %w", errHandledBefore, err)
		}
		o = judge(ctx, m, err)
	}
	return h.finish(ctx, m, o, settle)
}

// finish settles a message that has its verdict, and reports its outcome.
func (h *handler) finish(ctx context.Context, m *Message, o Outcome, settle func(context.Context, Outcome) error) Outcome {
	if settle != nil {
		o.SettleErr = settle(ctx, o)
	}
	if report := h.handlers.config.OnOutcome; report != nil && !errors.Is(o.SettleErr, errAbandoned) {
		report(ctx, m, o)
	}
	return o
}

// refuse returns the outcome of a request that must not be handled, and none for all other messages.
func (h *handler) refuse(ctx context.Context, m *Message) Outcome {
	if h.spec.Kind != KindRequest {
		return Outcome{}
	}
	left, needs := time.Until(m.Deadline), h.needs()
	switch {
	case errors.Is(context.Cause(ctx), errCallerGone):
		return Outcome{Verdict: VerdictExpired, Err: Errorf(Canceled, "the caller gave up before the request was handled")}
	case left < 0:
		return Outcome{Verdict: VerdictExpired, Err: Errorf(DeadlineExceeded, "the request expired before it was handled")}
	case m.Redelivered && !h.spec.Idempotent:
		return Outcome{Verdict: VerdictRefused, Err: &Error{Code: Aborted, Reason: ReasonOutcomeUnknown, Message: fmt.Sprintf(
			"outcome unknown: a worker that had this request is gone, and %s is not idempotent", h.spec.Name)}}
	case left < needs:
		err := Errorf(DeadlineExceeded, "not handled: it takes %v or more now, and %v were left",
			needs.Round(time.Microsecond), left.Round(time.Microsecond))
		if m.Redelivered {
			err = fmt.Errorf("%w: %w", errHandledBefore, err)
		}
		return Outcome{Verdict: VerdictRefused, Err: err}
	default:
		return Outcome{}
	}
}

// needs returns the least time that a request needs now to be handled and answered; 0 if that is not known.
func (h *handler) needs() time.Duration {
	if time.Now().UnixNano()-h.measured.Load() > int64(time.Second) {
		return 0
	}
	quickest := time.Duration(h.quickest.Load())
	return quickest + quickest/8 // for the answer's way back
}

// took records in quickest how long a handling took. A late one may have needed more than d, since its context ended;
// it counts only while there is a recent figure, since some handlers wait for news as long as they may.
func (h *handler) took(d time.Duration, late bool) {
	if late && h.needs() == 0 {
		return
	}
	if quickest := time.Duration(h.quickest.Load()); quickest > 0 {
		d = min(d, quickest+quickest/8)
	}
	h.quickest.Store(int64(d))
	h.measured.Store(time.Now().UnixNano())
}
