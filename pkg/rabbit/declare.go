package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/topology"
)

// A Declarer declares exchanges, queues and bindings. It is safe for concurrent use.
type Declarer struct {
	conn       *Conn
	mismatches atomic.Int64
}

// NewDeclarer makes a declarer on a connection.
func NewDeclarer(conn *Conn) *Declarer { return &Declarer{conn: conn} }

// Mismatches counts what existed with other arguments than declared, or what this user may not declare.
func (d *Declarer) Mismatches() int64 { return d.mismatches.Load() }

// Declare makes sure that everything in t exists. It blocks until the broker has answered, waiting through lost
// connections while ctx lives.
//
// What exists already with other arguments, and what this user may not declare, is logged, counted, and used as it is:
// arguments cannot be changed, and a rolling deploy with a new one must not keep every process from starting. Whether it
// can be used shows when it is. An exclusive queue that another connection holds is an error; so may be one of this
// process for a moment, until the broker has noticed that the connection before is gone.
func (d *Declarer) Declare(ctx context.Context, t topology.Topology) error {
	if err := checkTopology(t); err != nil {
		return err
	}
	steps := make([]step, 0, len(t.Exchanges)+len(t.Queues)+len(t.Bindings))
	for _, e := range t.Exchanges {
		steps = append(steps, step{"exchange " + e.Name, func(ch *Channel) error {
			return ch.ExchangeDeclare(e.Name, e.Type, true, false, false, false, e.Args)
		}})
	}
	for _, q := range t.Queues {
		steps = append(steps, step{"queue " + q.Name, func(ch *Channel) error {
			_, err := ch.QueueDeclare(q.Name, !q.Exclusive, false, q.Exclusive, false, q.Args)
			return err
		}})
	}
	for _, b := range t.Bindings {
		steps = append(steps, step{fmt.Sprintf("binding of %s to %s by %q", b.Queue, b.Exchange, b.RoutingKey), func(ch *Channel) error {
			return ch.QueueBind(b.Queue, b.RoutingKey, b.Exchange, false, nil)
		}})
	}
	for broken := 0; len(steps) > 0; {
		ch, err := d.conn.Channel(ctx)
		if err != nil {
			return fmt.Errorf("declare: %w", err)
		}
		steps, err = d.run(ctx, ch, steps)
		ch.close(ctx)
		if errors.Is(err, errBroken) && broken < maxBroken {
			broken++ // a queue that is just being deleted does it, too
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxBroken is how many connections may break of what is declared before it is given up.
const maxBroken = 3

var errBroken = errors.New("the broker closed the connection over it")

type step struct {
	what string
	do   func(*Channel) error
}

// run takes steps until all are done or the channel is gone, and returns those that are left.
func (d *Declarer) run(ctx context.Context, ch *Channel, steps []step) ([]step, error) {
	for i, s := range steps {
		err := doOn(ctx, ch, func() error { return s.do(ch) })
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("declare the %s: %w", s.what, d.conn.notSent(ctx))
		}
		e, ok := errors.AsType[*amqp.Error](err)
		switch {
		case ch.alive(), ok && e.Code == amqp.ResourceLocked:
			return nil, fmt.Errorf("declare the %s: %w", s.what, err)
		case ok && e.Server && !e.Recover && e.Code != amqp.ConnectionForced:
			return steps[i:], fmt.Errorf("declare the %s: %w: %w", s.what, errBroken, err)
		case !ok || !e.Server || !e.Recover:
			return steps[i:], nil // the connection was lost: again, on the next
		}
		d.mismatches.Add(1)
		d.conn.config.Logger.Warn("cannot declare; it is used as it is", "what", s.what, "reason", e.Reason)
		return steps[i+1:], nil
	}
	return nil, nil
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
