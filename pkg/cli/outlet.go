package cli

import (
	"context"
	"errors"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// An outlet writes messages to the broker. It is for one goroutine.
type outlet interface {
	// write writes a message and returns its id, without waiting for the confirm. An error means that it was not sent.
	// Else done is called with its outcome, from a later write or flush, in the order of the writes.
	write(ctx context.Context, payload []byte, done func(error)) (id string, err error)
	// flush waits for all outcomes, or until ctx ends.
	flush(ctx context.Context)
	// explain adds to an error of a message what to do about it.
	explain(err error) error
	close(ctx context.Context) error
}

// contractOutlet sends the messages of a contract.
type contractOutlet struct {
	app      *App
	name     string
	via      leveret.Contract // the contract, or what leads to it through a retry tier
	options  []leveret.SendOption
	client   *leveret.Client
	pipeline *leveret.Pipeline
	pending  []func(error)
}

// contractOutlet opens an outlet for a contract, whose messages wait for a time in a retry tier first if via says so.
func (a *App) contractOutlet(ctx context.Context, conn *leveret.Conn, c, via leveret.Contract, options []leveret.SendOption) (outlet, error) {
	if via != c {
		if err := a.declareDelay(ctx, conn, c); err != nil {
			return nil, a.explain(err)
		}
	}
	client, err := a.clientOn(conn, via)
	if err != nil {
		return nil, err
	}
	o := &contractOutlet{app: a, name: c.Spec().Name, via: via, options: options, client: client}
	o.pipeline = client.Pipeline(func(_ *leveret.Message, err error) {
		done := o.pending[0]
		o.pending = o.pending[1:]
		done(err)
	})
	return o, nil
}

func (o *contractOutlet) write(ctx context.Context, payload []byte, done func(error)) (string, error) {
	m := leveret.NewMessage(ctx, o.via, payload, o.options...)
	if err := o.pipeline.Write(ctx, m); err != nil {
		return m.ID, err
	}
	o.pending = append(o.pending, done)
	return m.ID, nil
}

func (o *contractOutlet) flush(ctx context.Context) {
	_ = o.pipeline.Flush(ctx) // its errors are those of the outcomes
}

func (o *contractOutlet) explain(err error) error {
	if errors.Is(err, leveret.ErrUnroutable) {
		return Fail(ExitNotFound, o.app.missing(o.app.Name+" queues"), "no queue takes %s: %w", o.name, err)
	}
	return o.app.explain(err)
}

func (o *contractOutlet) close(ctx context.Context) error { return o.client.Close(ctx) }
