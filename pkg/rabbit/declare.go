package rabbit

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/topology"
)

// A Declarer declares exchanges, queues and bindings, and remembers what it has declared: callers just declare. What is
// remembered costs nothing at the broker. It is safe for concurrent use.
//
// What is durable is remembered through lost connections too, and what is transient, auto-delete or exclusive for as long
// as the connection lives; of more than 10,000 things, those are forgotten that nobody has asked for in a minute. Where
// something turns out to be missing,
// [Declarer.Forget] has the next Declare declare it again.
type Declarer struct {
	conn       *Conn
	mismatches atomic.Int64

	turn    chan struct{} // held by the caller that declares, one item at a time; it has the channel
	channel *Channel      // nil, or used for declaring alone: a mismatch closes it

	mu    sync.Mutex
	items map[string]*item  // by what they look like, arguments included
	names map[string]string // of queues that may be renamed: what they are called at the broker
}

// item is one exchange, queue or binding.
type item struct {
	what     string
	needs    []string // what of a topology a binding needs
	fleeting bool     // may go without being deleted by anybody
	own      bool     // an exclusive queue: what exists of that name is not used
	declare  func(*Channel) error
	used     time.Time // last; guarded by the declarer's mu
	invalid  error     // why it is never tried: the driver would fail in the middle of a frame, which costs the connection

	outcome atomic.Pointer[outcome] // of the last attempt; nil before the first

	// What the caller that declares knows besides.
	mismatched bool // it was logged and counted
	failures   int  // attempts that the broker refused, in a row
	broken     int  // connections that broke because of it, in a row
}

// outcome is how an attempt to declare an item has ended: with a nil err it was declared.
type outcome struct {
	err     error
	used    bool // all the same: it exists with other arguments, or may not be declared by this user
	stale   bool // forgotten
	session *session
	at      time.Time // when the attempt was made
	until   time.Time // no other attempt is made before; zero if it was declared
}

const (
	// maxRefusal bounds how long an item that could not be declared is not tried again, and maxBreak the same for a binding
	// that was refused, and for an item that broke the connection.
	maxRefusal, maxBreak = 5 * time.Second, time.Minute
	// maxItems is how many items are remembered, and unusedAfter how long others are.
	maxItems, unusedAfter = 10_000, time.Minute
	// maxBroken is how many connections in a row the declaration of an item may break before it has failed. A queue that
	// is just being deleted breaks them, too.
	maxBroken = 3
)

// wrongType is what RabbitMQ says of an exchange that exists with another type.
const wrongType = "inequivalent arg 'type' for exchange"

var errBroken = errors.New("the broker closed the connection over it")

// NewDeclarer makes a declarer on a connection.
func NewDeclarer(conn *Conn) *Declarer {
	return &Declarer{conn: conn, turn: make(chan struct{}, 1), items: make(map[string]*item), names: make(map[string]string)}
}

// Mismatches counts what existed with other arguments than declared, or what this user may not declare.
func (d *Declarer) Mismatches() int64 { return d.mismatches.Load() }

// Declare makes sure that everything in t has been declared. It blocks until the broker has answered, waiting through
// lost connections while ctx lives. Callers that declare the same at once share one attempt.
//
// An exchange that exists with another type cannot be declared: it would hand messages to queues that they are not meant
// for. What else exists with other arguments, and what this user may not declare, is logged, counted, and used all the
// same: arguments cannot be changed, and a rolling deploy with a new one must not keep every process from starting.
// Whether it can be used shows at its first use.
//
// What cannot be declared fails alone: the rest of t is declared, and the errors are joined. An error is remembered for
// some seconds, in which every caller gets it at once. An exclusive queue that another connection holds is an error; so
// may be one of this process for a moment, until the broker has noticed that the connection before is gone.
func (d *Declarer) Declare(ctx context.Context, t topology.Topology) error {
	failed := make(map[string]bool)
	var errs []error
	for _, i := range d.itemsOf(t, true) {
		if slices.ContainsFunc(i.needs, func(what string) bool { return failed[what] }) {
			continue
		}
		err := d.ensure(ctx, i)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return err
		}
		errs = append(errs, fmt.Errorf("declare the %s: %w", i.what, err))
		failed[i.what] = true
	}
	return errors.Join(errs...)
}

// MayRename lets an exclusive queue have another name at the broker, which begins with its own, where it is locked: RabbitMQ
// 4.3 keeps the queue of a connection to a node that has crashed until that node is back. It lasts until Release.
func (d *Declarer) MayRename(queue string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[queue] = queue
}

// Name returns what a queue is called at the broker.
func (d *Declarer) Name(queue string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return cmp.Or(d.names[queue], queue)
}

// rename gives a queue that is locked another name for the next attempt, if it may have one.
func (d *Declarer) rename(locked string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for queue, name := range d.names {
		if name == locked {
			d.names[queue] = suffixed(queue)
		}
	}
}

// suffixed returns the name of a queue with a random suffix.
func suffixed(queue string) string {
	suffix := "." + strings.ToLower(rand.Text()[:8])
	return queue[:min(len(queue), 255-len(suffix))] + suffix
}

// Missing returns what of t could not be declared at the last attempt, and why; nil if nothing. Bindings that this user
// may not make are among it: without them messages may not arrive.
func (d *Declarer) Missing(t topology.Topology) error {
	var errs []error
	for _, i := range d.itemsOf(t, false) {
		if o := i.outcome.Load(); o != nil && o.err != nil && (!o.used || i.binds()) {
			errs = append(errs, fmt.Errorf("declare the %s: %w", i.what, o.err))
		}
	}
	return errors.Join(errs...)
}

// Forget makes the next Declare of what is in t declare it again: for callers that found some of it missing. What the
// broker refused a moment ago is not tried again so soon.
func (d *Declarer) Forget(t topology.Topology) {
	for _, i := range d.itemsOf(t, false) {
		i.forget()
	}
}

// Refresh declares again what of t was declared longer than age ago, in case the broker has lost some of it, and is
// otherwise like Declare. Exchanges and queues that are used as they are stay so while what is bound to them can be bound.
func (d *Declarer) Refresh(ctx context.Context, t topology.Topology, age time.Duration) error {
	for _, i := range d.itemsOf(t, false) {
		if o := i.outcome.Load(); o != nil && (!o.used || i.binds()) && time.Since(o.at) >= age {
			i.forget()
		}
	}
	return d.Declare(ctx, t)
}

func (i *item) binds() bool { return len(i.needs) > 0 }

// Release deletes the exclusive queues of t that were declared on the connection as it is now, unless somebody consumes
// them. It blocks until the broker has answered, while ctx lives.
func (d *Declarer) Release(ctx context.Context, t topology.Topology) {
	for _, i := range d.itemsOf(t, false) {
		o := i.outcome.Load()
		if i.fleeting && !i.own { // it may go with them
			i.outcome.Store(nil)
		}
		if !i.own || o == nil || o.err != nil || !o.session.alive() {
			continue
		}
		ch, err := d.conn.Channel(ctx)
		if err != nil {
			return
		}
		if err := doOn(ctx, ch, func() error {
			_, err := ch.QueueDelete(strings.TrimPrefix(i.what, "queue "), true, false, false)
			return err
		}); err == nil {
			i.outcome.CompareAndSwap(o, nil)
		}
		ch.close(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range t.Queues {
		delete(d.names, q.Name)
	}
}

// itemsOf returns what is in t, in the order to declare it in: with what is not remembered yet, or without.
func (d *Declarer) itemsOf(t topology.Topology, all bool) []*item {
	d.mu.Lock()
	defer d.mu.Unlock()
	items, now := make([]*item, 0, len(t.Exchanges)+len(t.Queues)+len(t.Bindings)), time.Now()
	add := func(key any, i *item, invalid ...error) {
		k := fmt.Sprintf("%#v", key)
		if d.items[k] == nil && all {
			if len(d.items) >= maxItems {
				maps.DeleteFunc(d.items, func(_ string, i *item) bool { return now.Sub(i.used) > unusedAfter })
			}
			i.invalid = errors.Join(invalid...)
			d.items[k] = i
		}
		if i = d.items[k]; i != nil {
			i.used = now
			items = append(items, i)
		}
	}
	fleeting := make(map[string]bool) // exchanges and queues, and with them their bindings
	for _, e := range t.Exchanges {
		what := "exchange " + e.Name
		fleeting[what] = e.Transient || e.AutoDelete
		add(e, &item{what: what, fleeting: fleeting[what], declare: func(ch *Channel) error {
			return ch.ExchangeDeclare(e.Name, e.Type, !e.Transient, e.AutoDelete, e.Internal, false, e.Args)
		}}, checkShort("name of the exchange", e.Name), checkTable("argument", e.Args, 0))
	}
	for _, q := range t.Queues {
		q.Name = cmp.Or(d.names[q.Name], q.Name)
		what := "queue " + q.Name
		fleeting[what] = q.Exclusive || q.Transient || q.AutoDelete
		add(q, &item{what: what, fleeting: fleeting[what], own: q.Exclusive, declare: func(ch *Channel) error {
			_, err := ch.QueueDeclare(q.Name, !q.Exclusive && !q.Transient, q.AutoDelete, q.Exclusive, false, q.Args)
			return err
		}}, checkShort("name of the queue", q.Name), checkTable("argument", q.Args, 0))
	}
	for _, b := range t.Bindings {
		b.Queue = cmp.Or(d.names[b.Queue], b.Queue)
		needs := []string{"exchange " + b.Exchange, "queue " + b.Queue}
		add(b, &item{
			what:  fmt.Sprintf("binding of %s to %s by %q", b.Queue, b.Exchange, b.RoutingKey),
			needs: needs, fleeting: fleeting[needs[0]] || fleeting[needs[1]],
			declare: func(ch *Channel) error { return ch.QueueBind(b.Queue, b.RoutingKey, b.Exchange, false, b.Args) },
		}, checkShort("name of the exchange", b.Exchange), checkShort("name of the queue", b.Queue), checkShort("routing key", b.RoutingKey),
			checkTable("argument", b.Args, 0))
	}
	return items
}

// ensure declares one item unless its outcome is known, or becomes so while others declare.
func (d *Declarer) ensure(ctx context.Context, i *item) error {
	if known, err := i.known(); known {
		return err
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return d.conn.notSent(ctx)
	}
	for {
		if known, err := i.known(); known {
			return err
		}
		if err := d.attempt(ctx, i); err != nil {
			return err
		}
	}
}

// attempt tries to declare an item, and notes the outcome. There is none where the connection was lost meanwhile. An
// error says that ctx or the connection has ended.
func (d *Declarer) attempt(ctx context.Context, i *item) error {
	if d.channel == nil || !d.channel.alive() {
		ch, err := d.conn.Channel(ctx)
		if err != nil {
			return err
		}
		d.channel = ch
	}
	ch := d.channel // a call that is left behind still has it
	err := doOn(ctx, ch, func() error { return i.declare(ch) })
	if err != nil && ctx.Err() != nil {
		ch.close(ctx)
		d.channel = nil
		return d.conn.notSent(ctx)
	}
	e, ok := errors.AsType[*amqp.Error](err)
	switch {
	case err == nil:
		i.failures, i.broken = 0, 0
		i.outcome.Store(&outcome{session: ch.session, at: time.Now()})
	case ok && e.Code == amqp.ResourceLocked:
		d.rename(strings.TrimPrefix(i.what, "queue "))
		i.refused(ch, outcome{err: fmt.Errorf("only one connection can have an exclusive queue, and another has it, or it is not exclusive: %w", err)}, maxRefusal)
	case ok && i.own && (e.Code == amqp.AccessRefused || e.Code == amqp.PreconditionFailed): // one that is there is not ours
		i.refused(ch, outcome{err: fmt.Errorf("%w: %s", ErrRefused, lacking(i.right(e.Reason), e.Reason))}, maxRefusal)
	case ch.alive(), ok && strings.Contains(e.Reason, wrongType):
		i.refused(ch, outcome{err: err}, maxRefusal)
	case !ok, !e.Server, e.Code == amqp.ConnectionForced: // the connection was lost: again, on the next
	case !e.Recover: // the broker closed the connection
		if i.broken++; i.broken >= maxBroken {
			i.refused(ch, outcome{err: fmt.Errorf("%w: %w", errBroken, err)}, maxBreak)
		}
	case notStarted(e):
		i.refused(ch, outcome{err: because(ErrNotConnected, err)}, maxRefusal)
	case e.Code == amqp.NotFound: // what a binding needs is gone, or could not be declared
		i.refused(ch, outcome{err: fmt.Errorf("%w%s", because(ErrNotFound, err), d.forget(i.needs))}, maxRefusal)
	default:
		reason := lacking(i.right(e.Reason), e.Reason)
		if !i.mismatched {
			i.mismatched = true
			d.mismatches.Add(1)
			exists := strings.Contains(e.Reason, "inequivalent arg")
			d.conn.config.Logger.Warn("cannot declare; using "+map[bool]string{true: "what exists", false: "it if it exists"}[exists], "what", i.what, "reason", reason)
		}
		most := maxRefusal
		if i.binds() { // each attempt costs a channel, and a line in the broker's log
			most = maxBreak
		}
		i.refused(ch, outcome{err: fmt.Errorf("%w: %s", ErrRefused, reason), used: true}, most)
	}
	return nil
}

// right is the right that a user lacks to declare an item, by the exchange or queue that the broker names.
func (i *item) right(reason string) string {
	switch own := strings.Contains(reason, strings.Replace(i.what, " ", " '", 1)+"'"); {
	case own:
		return "configure or read" // the latter where it dead-letters, or has an alternate
	case i.binds() && strings.Contains(reason, "to exchange "):
		return "read"
	default: // to bind a queue, or to have it dead-letter to an exchange
		return "write"
	}
}

// refused notes that the broker refused an item. There is no other attempt for some time, which doubles with each
// refusal in a row, up to most.
func (i *item) refused(ch *Channel, o outcome, most time.Duration) {
	pause := min(most/64<<min(i.failures, 10), most)
	i.failures++
	o.session, o.at = ch.session, time.Now()
	o.until = o.at.Add(pause)
	i.outcome.Store(&o)
}

// known reports whether an item needs no attempt now, and if so what Declare returns for it. That is nil for a
// mismatch, too, which is used all the same.
func (i *item) known() (known bool, err error) {
	o := i.outcome.Load()
	if o == nil || o.stale {
		return i.invalid != nil, i.invalid
	}
	if err = o.err; o.used {
		err = nil
	}
	if err == nil && (!i.fleeting || o.session.alive()) {
		return true, nil
	}
	return time.Now().Before(o.until), err
}

// forget makes the next Declare declare an item again.
func (i *item) forget() {
	if o := i.outcome.Load(); o != nil && !time.Now().Before(o.until) {
		forgotten := *o
		forgotten.stale = true
		i.outcome.CompareAndSwap(o, &forgotten)
	}
}

// forget makes the next Declare of items declare them again. It returns why some of them could not be declared.
func (d *Declarer) forget(what []string) (why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.items {
		if !slices.Contains(what, i.what) {
			continue
		}
		if o := i.outcome.Load(); o != nil && o.err != nil {
			why += fmt.Sprintf("; the %s could not be declared: %v", i.what, o.err)
		}
		i.forget()
	}
	return why
}
