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
// can be used shows when it is.
func (d *Declarer) Declare(ctx context.Context, t topology.Topology) error {
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
	for len(steps) > 0 {
		ch, err := d.conn.Channel(ctx)
		if err != nil {
			return fmt.Errorf("declare: %w", err)
		}
		steps, err = d.run(ctx, ch, steps)
		closeChannel(ch)
		if err != nil {
			return err
		}
	}
	return nil
}

type step struct {
	what string
	do   func(*Channel) error
}

// run takes steps until all are done or the channel is gone, and returns those that are left.
func (d *Declarer) run(ctx context.Context, ch *Channel, steps []step) ([]step, error) {
	for i, s := range steps {
		_, err := await(ctx, func() (struct{}, error) { return struct{}{}, s.do(ch) }, func(struct{}) {})
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("declare the %s: %w", s.what, d.conn.notSent(ctx))
		}
		e, ok := errors.AsType[*amqp.Error](err)
		if !ok || !e.Recover || ch.session.IsClosed() {
			if !ch.IsClosed() {
				return nil, fmt.Errorf("declare the %s: %w", s.what, err)
			}
			return steps[i:], nil // the connection was lost: again, on the next
		}
		d.mismatches.Add(1)
		d.conn.config.Logger.Warn("cannot declare; it is used as it is", "what", s.what, "reason", e.Reason)
		return steps[i+1:], nil
	}
	return nil, nil
}
