//go:build !short

package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jxsl13/amqpx/pool"
	"github.com/jxsl13/amqpx/types"
)

// amqpxPeer is jxsl13/amqpx. Its strongest: sessions with confirms, persistent, mandatory. It waits for confirm or return in
// one select, whichever comes first. A consumer is one goroutine with a channel of its own, so concurrency is as many
// consumers; it sets no prefetch.
func amqpxPeer() Peer {
	return Peer{
		Name: "amqpx", Module: "github.com/jxsl13/amqpx",
		About: "Persistent, mandatory, a pool of sessions with confirms, as many as goroutines publish; PublishBatch where confirms are pipelined; " +
			"one consumer for each handler at once, each delivery acked after its handler. A prefetch cannot be set.",
		RetryAbout: retryByHand,
		Sender:     func(ctx context.Context, s Setting) (Sender, error) { return newAmqpx(ctx, s, s.Senders) },
		Pipeline: func(ctx context.Context, s Setting) (Pipeline, error) {
			p, err := newAmqpx(ctx, s, 1)
			return &amqpxBatch{amqpx: p, window: s.Window}, err
		},
		Work: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			if err := declareOver(s.URL, s, declareWork); err != nil {
				return err
			}
			return amqpxWork(ctx, s, ready, h)
		},
		Retry: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return amqpxWork(ctx, s, ready, func(ctx context.Context, p *Payload) error {
				if err := h(ctx, p); err != nil {
					return fmt.Errorf("%w: %w", types.ErrReject, err)
				}
				return nil
			})
		},
		PrepareRetry: func(s Setting) error { return declareOver(s.URL, s, declareRetryByHand) },
	}
}

type amqpx struct {
	pool      *pool.Pool
	publisher *pool.Publisher
	key       string
}

func newAmqpx(_ context.Context, s Setting, sessions int) (*amqpx, error) {
	if !s.Declared {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return nil, err
		}
	}
	// The library lets all that uses the pool end with its context.
	p, err := pool.New(context.Background(), s.URL, 1, max(sessions, 1), pool.WithConfirms(true), pool.WithLogger(s.Log),
		pool.WithBufferCapacity(s.Window))
	if err != nil {
		return nil, err
	}
	return &amqpx{p, pool.NewPublisher(p), s.Queue}, nil
}

func amqpxMessage(p *Payload) (types.Publishing, error) {
	body, err := json.Marshal(p)
	return types.Publishing{
		MessageId: uuid.NewString(), ContentType: "application/json", DeliveryMode: 2, Mandatory: true, Body: body,
	}, err
}

func (a *amqpx) Send(ctx context.Context, p *Payload) error {
	m, err := amqpxMessage(p)
	if err != nil {
		return err
	}
	return a.publisher.Publish(ctx, commands, a.key, m)
}

func (a *amqpx) Close(context.Context) error {
	a.publisher.Close()
	a.pool.Close()
	return nil
}

type amqpxBatch struct {
	*amqpx
	window int
	batch  []types.Publishing
}

func (a *amqpxBatch) Send(ctx context.Context, p *Payload) error {
	m, err := amqpxMessage(p)
	if err != nil {
		return err
	}
	if a.batch = append(a.batch, m); len(a.batch) < a.window {
		return nil
	}
	return a.Flush(ctx)
}

func (a *amqpxBatch) Flush(ctx context.Context) error {
	if len(a.batch) == 0 {
		return nil
	}
	err := a.publisher.PublishBatch(ctx, commands, a.key, a.batch)
	a.batch = a.batch[:0]
	return err
}

func amqpxWork(ctx context.Context, s Setting, ready func(), h Handler) error {
	p, err := pool.New(context.Background(), s.URL, 1, s.Concurrency, pool.WithConfirms(false), pool.WithLogger(s.Log),
		pool.WithBufferCapacity(max(s.Prefetch/s.Concurrency, 1)))
	if err != nil {
		return err
	}
	defer p.Close()
	subscriber := pool.NewSubscriber(p)
	for n := range s.Concurrency {
		subscriber.RegisterHandlerFunc(s.Queue, func(_ context.Context, d types.Delivery) error {
			return handleBody(ctx, d.Body, h)
		}, types.ConsumeOptions{ConsumerTag: fmt.Sprintf("bench-%d", n)})
	}
	if err := subscriber.Start(ctx); err != nil {
		return errors.Join(err, ctx.Err())
	}
	ready()
	<-ctx.Done()
	subscriber.Close()
	return nil
}
