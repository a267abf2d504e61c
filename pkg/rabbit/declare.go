package rabbit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/topology"
)

// A Declarer declares exchanges, queues and bindings, and remembers what it has declared: callers just declare. What is
// remembered costs nothing at the broker. It is safe for concurrent use.
//
// What is durable is remembered for good, through lost connections too, and what is exclusive for as long as its
// connection lives. Where something turns out to be missing, [Declarer.Forget] has the next Declare declare it again.
type Declarer struct {
	conn       *Conn
	mismatches atomic.Int64

	turn    chan struct{} // held by the caller that declares, one item at a time; it has the channel
	channel *Channel      // nil, or used for declaring alone: a mismatch closes it
	idle    *time.Timer   // closes the channel

	mu    sync.Mutex
	items map[string]*item // by what they look like, arguments included
}

// item is one exchange, queue or binding.
type item struct {
	what      string
	needs     []string // what of a topology a binding needs
	exclusive bool     // goes with its connection
	declare   func(*Channel) error

	// What is remembered; guarded by the declarer's mu.
	declared   bool
	session    *session // on which it was declared, if it is exclusive
	mismatched bool     // it was logged and counted
	err        error    // why the last attempt failed
	failures   int      // in a row
	until      time.Time
}

const (
	// channelIdle is how long the channel for declaring stays open unused.
	channelIdle = time.Second
	// maxRefusal bounds how long an item that could not be declared is not tried again, and maxBreak the same for one that
	// broke the connection.
	maxRefusal, maxBreak = 5 * time.Second, time.Minute
	// maxBroken is how many connections may break of what is declared before it has failed. A queue that is just being
	// deleted does it, too.
	maxBroken = 3
)

var errBroken = errors.New("the broker closed the connection over it")

// NewDeclarer makes a declarer on a connection.
func NewDeclarer(conn *Conn) *Declarer {
	d := &Declarer{conn: conn, turn: make(chan struct{}, 1), items: make(map[string]*item)}
	d.idle = time.AfterFunc(time.Hour, d.closeIdle)
	d.idle.Stop()
	return d
}

// Mismatches counts what existed with other arguments than declared, or what this user may not declare.
func (d *Declarer) Mismatches() int64 { return d.mismatches.Load() }

// Declare makes sure that everything in t has been declared. It blocks until the broker has answered, waiting through
// lost connections while ctx lives. Callers that declare the same at once share one attempt.
//
// What exists already with other arguments, and what this user may not declare, is logged, counted, and used all the
// same: arguments cannot be changed, and a rolling deploy with a new one must not keep every process from starting.
// Whether it can be used shows when it is.
//
// What cannot be declared fails alone: the rest of t is declared, and the errors are joined. An error is remembered for
// some seconds, in which every caller gets it at once. An exclusive queue that another connection holds is an error; so
// may be one of this process for a moment, until the broker has noticed that the connection before is gone.
func (d *Declarer) Declare(ctx context.Context, t topology.Topology) error {
	if err := checkTopology(t); err != nil {
		return err
	}
	failed := make(map[string]bool)
	var errs []error
	for _, i := range d.itemsOf(t) {
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

// Forget makes the next Declare of what is in t declare it again: for callers that found some of it missing. What the
// broker refused a moment ago is not asked for again so soon.
func (d *Declarer) Forget(t topology.Topology) {
	items, now := d.itemsOf(t), time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range items {
		i.declared = i.declared && now.Before(i.until)
	}
}

// itemsOf returns what is in t, in the order to declare it in.
func (d *Declarer) itemsOf(t topology.Topology) []*item {
	d.mu.Lock()
	defer d.mu.Unlock()
	items := make([]*item, 0, len(t.Exchanges)+len(t.Queues)+len(t.Bindings))
	add := func(key any, i item) {
		k := fmt.Sprintf("%#v", key)
		if d.items[k] == nil {
			d.items[k] = &i
		}
		items = append(items, d.items[k])
	}
	for _, e := range t.Exchanges {
		add(e, item{what: "exchange " + e.Name, declare: func(ch *Channel) error {
			return ch.ExchangeDeclare(e.Name, e.Type, true, false, false, false, e.Args)
		}})
	}
	exclusive := make(map[string]bool)
	for _, q := range t.Queues {
		exclusive[q.Name] = q.Exclusive
		add(q, item{what: "queue " + q.Name, exclusive: q.Exclusive, declare: func(ch *Channel) error {
			_, err := ch.QueueDeclare(q.Name, !q.Exclusive, false, q.Exclusive, false, q.Args)
			return err
		}})
	}
	for _, b := range t.Bindings {
		add(b, item{
			what:  fmt.Sprintf("binding of %s to %s by %q", b.Queue, b.Exchange, b.RoutingKey),
			needs: []string{"exchange " + b.Exchange, "queue " + b.Queue}, exclusive: exclusive[b.Queue],
			declare: func(ch *Channel) error { return ch.QueueBind(b.Queue, b.RoutingKey, b.Exchange, false, nil) },
		})
	}
	return items
}

// known reports whether what is remembered of an item is its outcome.
func (d *Declarer) known(i *item) (known bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i.declared && (!i.exclusive || i.session.alive()) {
		return true, nil
	}
	return time.Now().Before(i.until), i.err
}

// ensure declares one item unless its outcome is known, or becomes so while others declare.
func (d *Declarer) ensure(ctx context.Context, i *item) error {
	if known, err := d.known(i); known {
		return err
	}
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return d.conn.notSent(ctx)
	}
	defer func() {
		d.idle.Reset(channelIdle)
		<-d.turn
	}()
	for broken := 1; ; {
		if known, err := d.known(i); known {
			return err
		}
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
			d.channel.close(ctx) // its call was left behind
			d.channel = nil
			return d.conn.notSent(ctx)
		}
		e, ok := errors.AsType[*amqp.Error](err)
		switch {
		case err == nil:
			d.remember(i, nil, 0)
		case d.channel.alive(), ok && e.Code == amqp.ResourceLocked:
			d.remember(i, err, maxRefusal)
		case ok && e.Server && !e.Recover && e.Code != amqp.ConnectionForced:
			if broken++; broken > maxBroken || i.failures > 0 {
				d.remember(i, fmt.Errorf("%w: %w", errBroken, err), maxBreak)
			}
		case !ok || !e.Server || !e.Recover: // the connection was lost: again, on the next
		case e.Code == amqp.NotFound: // what a binding needs is gone
			d.remember(i, err, maxRefusal)
			d.forget(i.needs)
		default:
			if !i.mismatched {
				i.mismatched = true
				d.mismatches.Add(1)
				d.conn.config.Logger.Warn("cannot declare; it is used as it is", "what", i.what, "reason", e.Reason)
			}
			d.remember(i, nil, maxRefusal)
		}
	}
}

// remember notes how an attempt has ended. After one that the broker refused there is none for some time, which doubles
// with each refusal in a row, up to most.
func (d *Declarer) remember(i *item, err error, most time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i.declared, i.err, i.session = err == nil, err, d.channel.session
	if most == 0 {
		i.failures = 0
		return
	}
	i.until = time.Now().Add(min(most/64<<min(i.failures, 10), most))
	i.failures++
}

// forget makes the next Declare of items declare them again.
func (d *Declarer) forget(what []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.items {
		i.declared = i.declared && !slices.Contains(what, i.what)
	}
}

// closeIdle closes the channel, unless it is in use.
func (d *Declarer) closeIdle() {
	select {
	case d.turn <- struct{}{}:
	default:
		return // the idle time begins when that has ended
	}
	ch := d.channel
	d.channel = nil
	<-d.turn
	if ch != nil {
		ch.close(context.Background())
	}
}

// checkTopology finds what the driver would fail on in the middle of a frame, which costs the connection.
func checkTopology(t topology.Topology) error {
	check := func(what, name string, args map[string]any) error {
		if err := checkShort("name of the "+what, name); err != nil {
			return err
		}
		if err := checkTable("argument", args); err != nil {
			return fmt.Errorf("the %s %s: %w", what, name, err)
		}
		return nil
	}
	var errs []error
	for _, e := range t.Exchanges {
		errs = append(errs, check("exchange", e.Name, e.Args))
	}
	for _, q := range t.Queues {
		errs = append(errs, check("queue", q.Name, q.Args))
	}
	for _, b := range t.Bindings {
		errs = append(errs, check("exchange", b.Exchange, nil), check("queue", b.Queue, nil), checkShort("routing key", b.RoutingKey))
	}
	return errors.Join(errs...)
}
