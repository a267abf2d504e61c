//go:build !short

package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/jxsl13/amqpx/pool"
	"github.com/jxsl13/amqpx/types"
)

// amqpxPeer is jxsl13/amqpx. Its strongest: sessions with confirms, persistent, mandatory. It waits for confirm or
// return in one select, whichever comes first. A consumer is one goroutine with its own channel, so concurrency is as
// many consumers. One that takes single messages sets no prefetch; one that takes batches has one batch as its
// prefetch, acks it with one frame, and gives back all of it when one message of it fails: it is used where a backlog
// is worked off.
func amqpxPeer() Peer {
	return Peer{
		Name: "amqpx", Module: "github.com/jxsl13/amqpx",
		About: "Persistent, mandatory, a pool of sessions with confirms, as many as goroutines publish; where confirms are pipelined, PublishBatch over two " +
			"sessions with half the window each. Where a backlog is worked off, batch handlers that share the prefetch, as many as handlers at once or one " +
			"where handlers take no time; one multiple ack for a batch. Else one consumer for each handler at once, each delivery acked after its " +
			"handler, without a prefetch, which cannot be set then.",
		Batches:    true,
		RetryAbout: retryByHand,
		Sender:     func(_ context.Context, s Setting) (Sender, error) { return newAmqpx(s, s.Senders) },
		Pipeline: func(_ context.Context, s Setting) (Pipeline, error) {
			half := max(s.Window/amqpxFlights, 1)
			p, err := newAmqpx(s, amqpxFlights, pool.WithBufferCapacity(half))
			return &amqpxBatch{amqpx: p, size: half, flying: make(chan struct{}, amqpxFlights)}, err
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

func newAmqpx(s Setting, sessions int, options ...pool.Option) (*amqpx, error) {
	if !s.Declared {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return nil, err
		}
	}
	// The library lets all that uses the pool end with its context.
	p, err := pool.New(context.Background(), s.URL, 1, max(sessions, 1), append(options, pool.WithConfirms(true))...)
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

// amqpxFlights is how many batches are published or wait for their confirms at once, each on its own session.
const amqpxFlights = 2

// amqpxBatch is a Pipeline: while batches are on their way, the next is gathered.
type amqpxBatch struct {
	*amqpx
	size   int
	batch  []types.Publishing
	flying chan struct{} // holds one for each batch on its way

	mu     sync.Mutex
	failed error
}

func (a *amqpxBatch) Send(ctx context.Context, p *Payload) error {
	m, err := amqpxMessage(p)
	if err != nil {
		return err
	}
	if a.batch = append(a.batch, m); len(a.batch) == a.size {
		a.fly(ctx)
	}
	return nil
}

func (a *amqpxBatch) fly(ctx context.Context) {
	batch := a.batch
	a.batch = make([]types.Publishing, 0, a.size)
	a.flying <- struct{}{}
	go func() {
		if err := a.publisher.PublishBatch(ctx, commands, a.key, batch); err != nil {
			a.mu.Lock()
			a.failed = errors.Join(a.failed, err)
			a.mu.Unlock()
		}
		<-a.flying
	}()
}

func (a *amqpxBatch) Flush(ctx context.Context) error {
	if len(a.batch) > 0 {
		a.fly(ctx)
	}
	for range amqpxFlights { // as many can be put in when none is on its way
		a.flying <- struct{}{}
	}
	for range amqpxFlights {
		<-a.flying
	}
	err := a.failed
	a.failed = nil
	return err
}

// amqpxWork handles until ctx ends: in batches where the setting has some, else one message at a time.
func amqpxWork(ctx context.Context, s Setting, ready func(), h Handler) error {
	consumers := s.Concurrency
	if s.Batch > 0 {
		consumers = max(s.Prefetch/s.Batch, 1)
	}
	p, err := pool.New(context.Background(), s.URL, 1, consumers, pool.WithConfirms(false))
	if err != nil {
		return err
	}
	defer p.Close()
	subscriber := pool.NewSubscriber(p)
	for n := range consumers {
		options := types.ConsumeOptions{ConsumerTag: fmt.Sprintf("bench-%d", n)}
		if s.Batch > 0 {
			subscriber.RegisterBatchHandlerFunc(s.Queue, func(_ context.Context, batch []types.Delivery) error {
				for _, d := range batch {
					if err := handleBody(ctx, d.Body, h); err != nil {
						return err // all of the batch comes again
					}
				}
				return nil
			}, pool.WithMaxBatchSize(s.Batch), pool.WithBatchFlushTimeout(batchDelay), pool.WithBatchConsumeOptions(options))
			continue
		}
		subscriber.RegisterHandlerFunc(s.Queue, func(_ context.Context, d types.Delivery) error {
			return handleBody(ctx, d.Body, h)
		}, options)
	}
	if err := subscriber.Start(ctx); err != nil {
		return errors.Join(err, ctx.Err())
	}
	ready()
	<-ctx.Done()
	subscriber.Close()
	return nil
}
