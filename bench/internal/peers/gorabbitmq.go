//go:build !short

package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	rabbitmq "github.com/wagslane/go-rabbitmq"
)

// goRabbitMQ is wagslane/go-rabbitmq. Its strongest: confirm mode with a deferred confirmation for each publish,
// persistent, mandatory, and NotifyReturn, whose handler runs in its own goroutine: nothing orders it before the
// confirm.
func goRabbitMQ() Peer {
	return Peer{
		Name: "go-rabbitmq", Module: "github.com/wagslane/go-rabbitmq",
		About: "Persistent, mandatory, confirm mode with deferred confirmations, NotifyReturn matched by message id; " +
			"each delivery acked after its handler; connects again.",
		RetryAbout: retryByHand,
		Sender:     func(_ context.Context, s Setting) (Sender, error) { return newGoRabbit(s) },
		Pipeline: func(_ context.Context, s Setting) (Pipeline, error) {
			p, err := newGoRabbit(s)
			return goRabbitPipeline{p, newRing(s.Window)}, err
		},
		Work: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			if err := declareOver(s.URL, s, declareWork); err != nil {
				return err
			}
			return goRabbitWork(ctx, s, ready, h, rabbitmq.NackRequeue)
		},
		Retry: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return goRabbitWork(ctx, s, ready, h, rabbitmq.NackDiscard)
		},
		PrepareRetry: func(s Setting) error { return declareOver(s.URL, s, declareRetryByHand) },
	}
}

// quiet hands what the library logs to slog.
type quiet struct{ log *slog.Logger }

func (q quiet) Fatalf(format string, args ...any) { q.log.Error(fmt.Sprintf(format, args...)) }
func (q quiet) Errorf(format string, args ...any) { q.log.Error(fmt.Sprintf(format, args...)) }
func (q quiet) Warnf(format string, args ...any)  { q.log.Warn(fmt.Sprintf(format, args...)) }
func (q quiet) Infof(format string, args ...any)  {}
func (q quiet) Debugf(format string, args ...any) {}

type goRabbit struct {
	conn      *rabbitmq.Conn
	publisher *rabbitmq.Publisher
	key       string
	returned  returned
}

func goRabbitConn(s Setting) (*rabbitmq.Conn, error) {
	return rabbitmq.NewConn(s.URL, rabbitmq.WithConnectionOptionsLogger(quiet{s.Log}),
		rabbitmq.WithConnectionOptionsBaseReconnectInterval(time.Second))
}

func newGoRabbit(s Setting) (*goRabbit, error) {
	if !s.Declared {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return nil, err
		}
	}
	conn, err := goRabbitConn(s)
	if err != nil {
		return nil, err
	}
	g := &goRabbit{conn: conn, key: s.Queue}
	g.publisher, err = rabbitmq.NewPublisher(conn, rabbitmq.WithPublisherOptionsConfirm, rabbitmq.WithPublisherOptionsLogger(quiet{s.Log}))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	g.publisher.NotifyReturn(func(r rabbitmq.Return) { g.returned.add(r.MessageId) })
	return g, nil
}

func (g *goRabbit) publish(ctx context.Context, p *Payload) (outcome func() error, err error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	confirms, err := g.publisher.PublishWithDeferredConfirmWithContext(ctx, body, []string{g.key},
		rabbitmq.WithPublishOptionsExchange(commands), rabbitmq.WithPublishOptionsMandatory, rabbitmq.WithPublishOptionsPersistentDelivery,
		rabbitmq.WithPublishOptionsContentType("application/json"), rabbitmq.WithPublishOptionsMessageID(id))
	if err != nil {
		return nil, err
	}
	return func() error {
		for _, c := range confirms {
			if c == nil {
				return errors.New("published without confirm mode: the library had not set it again on its new channel")
			}
			acked, err := c.WaitContext(ctx)
			if err != nil {
				return err
			}
			if !acked {
				return errNacked
			}
		}
		if g.returned.take(id) {
			return errReturned
		}
		return nil
	}, nil
}

func (g *goRabbit) Send(ctx context.Context, p *Payload) error {
	outcome, err := g.publish(ctx, p)
	if err != nil {
		return err
	}
	return outcome()
}

func (g *goRabbit) Close(context.Context) error {
	g.publisher.Close()
	return g.conn.Close()
}

type goRabbitPipeline struct {
	*goRabbit
	ring *ring
}

func (g goRabbitPipeline) Send(ctx context.Context, p *Payload) error {
	outcome, err := g.publish(ctx, p)
	if err == nil {
		g.ring.add(outcome)
	}
	return err
}

func (g goRabbitPipeline) Flush(context.Context) error { return g.ring.flush() }

func goRabbitWork(ctx context.Context, s Setting, ready func(), h Handler, failed rabbitmq.Action) error {
	conn, err := goRabbitConn(s)
	if err != nil {
		return err
	}
	consumer, err := rabbitmq.NewConsumer(conn, s.Queue, rabbitmq.WithConsumerOptionsQueueNoDeclare,
		rabbitmq.WithConsumerOptionsConcurrency(s.Concurrency), rabbitmq.WithConsumerOptionsQOSPrefetch(s.Prefetch),
		rabbitmq.WithConsumerOptionsLogger(quiet{s.Log}))
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	ran := make(chan error, 1)
	go func() {
		ran <- consumer.Run(func(d rabbitmq.Delivery) rabbitmq.Action {
			if handleBody(ctx, d.Body, h) != nil {
				return failed
			}
			return rabbitmq.Ack
		})
	}()
	if err := awaitConsumers(ctx, s, ready); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err := <-ran:
		return err
	}
	consumer.CloseWithContext(context.WithoutCancel(ctx))
	return errors.Join(<-ran, conn.Close())
}
