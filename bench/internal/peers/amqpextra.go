//go:build !short

package peers

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/makasim/amqpextra"
	"github.com/makasim/amqpextra/consumer"
	"github.com/makasim/amqpextra/publisher"
	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpextraPeer is makasim/amqpextra. Its strongest: WithConfirmation, persistent, mandatory. It knows no returns, but
// its init function hands out the channel, so that a careful user can listen to them: that is done here.
func amqpextraPeer() Peer {
	return Peer{
		Name: "amqpextra", Module: "github.com/makasim/amqpextra",
		About: "Persistent, mandatory, WithConfirmation; returns, which the library does not know, listened to through its init function; " +
			"a parallel worker whose handlers ack each delivery; connects again.",
		RetryAbout: retryByHand,
		Sender:     func(ctx context.Context, s Setting) (Sender, error) { return newExtra(ctx, s) },
		Pipeline: func(ctx context.Context, s Setting) (Pipeline, error) {
			p, err := newExtra(ctx, s)
			return extraPipeline{p, newRing(s.Window)}, err
		},
		Work: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			if err := declareOver(s.URL, s, declareWork); err != nil {
				return err
			}
			return extraWork(ctx, s, ready, h, true)
		},
		Retry: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return extraWork(ctx, s, ready, h, false)
		},
		PrepareRetry: func(s Setting) error { return declareOver(s.URL, s, declareRetryByHand) },
	}
}

type extra struct {
	dialer    *amqpextra.Dialer
	publisher *publisher.Publisher
	key       string
	returns   atomic.Pointer[chan amqp.Return] // of the channel in use
	returned  returned
}

func extraDialer(s Setting) (*amqpextra.Dialer, error) {
	return amqpextra.NewDialer(amqpextra.WithURL(s.URL), amqpextra.WithRetryPeriod(time.Second))
}

func newExtra(ctx context.Context, s Setting) (*extra, error) {
	if !s.Declared {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return nil, err
		}
	}
	dialer, err := extraDialer(s)
	if err != nil {
		return nil, err
	}
	e := &extra{dialer: dialer, key: s.Queue}
	states := make(chan publisher.State, 8)
	e.publisher, err = dialer.Publisher(publisher.WithConfirmation(uint(s.Window)), publisher.WithRestartSleep(time.Second),
		publisher.WithNotify(states), publisher.WithInitFunc(func(conn publisher.AMQPConnection) (publisher.AMQPChannel, error) {
			ch, err := conn.(*amqp.Connection).Channel()
			if err != nil {
				return nil, err
			}
			returns := ch.NotifyReturn(make(chan amqp.Return, s.Window))
			e.returns.Store(&returns)
			return ch, nil
		}))
	if err != nil {
		dialer.Close()
		return nil, err
	}
	for {
		select {
		case state := <-states:
			if state.Ready != nil {
				return e, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (e *extra) publish(ctx context.Context, p *Payload) (outcome func() error, err error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	result := e.publisher.Go(publisher.Message{
		Context: ctx, Exchange: commands, Key: e.key, Mandatory: true,
		Publishing: amqp.Publishing{MessageId: id, ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: body},
	})
	return func() error {
		if err := <-result; err != nil {
			return err
		}
		if e.cameBack(id) {
			return errReturned
		}
		return nil
	}, nil
}

// cameBack reports whether a confirmed message was returned. The driver delivers a return before its confirm.
func (e *extra) cameBack(id string) bool {
	for {
		select {
		case r, ok := <-*e.returns.Load():
			if ok {
				e.returned.add(r.MessageId)
				continue
			}
		default:
		}
		return e.returned.take(id)
	}
}

func (e *extra) Send(ctx context.Context, p *Payload) error {
	outcome, err := e.publish(ctx, p)
	if err != nil {
		return err
	}
	return outcome()
}

func (e *extra) Close(context.Context) error {
	e.publisher.Close()
	<-e.publisher.NotifyClosed()
	e.dialer.Close()
	<-e.dialer.NotifyClosed()
	return nil
}

type extraPipeline struct {
	*extra
	ring *ring
}

func (e extraPipeline) Send(ctx context.Context, p *Payload) error {
	outcome, err := e.publish(ctx, p)
	if err == nil {
		e.ring.add(outcome)
	}
	return err
}

func (e extraPipeline) Flush(context.Context) error { return e.ring.flush() }

// extraWork handles until ctx ends. The library stops its workers at once then, and gives nothing back by itself.
func extraWork(ctx context.Context, s Setting, ready func(), h Handler, requeue bool) error {
	dialer, err := extraDialer(s)
	if err != nil {
		return err
	}
	states := make(chan consumer.State, 8)
	c, err := dialer.Consumer(consumer.WithQueue(s.Queue), consumer.WithQos(s.Prefetch, false), consumer.WithNotify(states),
		consumer.WithRetryPeriod(time.Second), consumer.WithWorker(consumer.NewParallelWorker(s.Concurrency)),
		consumer.WithHandler(consumer.HandlerFunc(func(_ context.Context, d amqp.Delivery) any {
			err := handleBody(ctx, d.Body, h)
			if err == nil {
				err = d.Ack(false)
			} else {
				err = d.Nack(false, requeue)
			}
			if err != nil {
				s.Log.Warn("not settled", "error", err)
			}
			return nil
		})))
	if err != nil {
		dialer.Close()
		return err
	}
	for {
		select {
		case state := <-states:
			if state.Ready != nil {
				ready()
			}
			continue
		case <-c.NotifyClosed():
			return errors.New("the consumer stopped")
		case <-ctx.Done():
		}
		break
	}
	c.Close()
	<-c.NotifyClosed()
	dialer.Close()
	<-dialer.NotifyClosed()
	return nil
}
