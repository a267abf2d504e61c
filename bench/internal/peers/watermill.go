//go:build !short

package peers

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// watermillPeer is ThreeDotsLabs/watermill with watermill-amqp. Its strongest: persistent, ConfirmDelivery, and a pool
// of channels, since each publish holds one until its confirm; mandatory is set, but nothing listens to returns. A
// subscription handles one message at a time, so concurrency is as many subscriptions, which share the prefetch.
//
// Its marshaler refuses headers that are no strings, such as the delivery count of a quorum queue: a message that came
// once and was not acked could never be handled again. They are removed here, as its documentation shows for x-death.
func watermillPeer() Peer {
	return Peer{
		Name: "watermill", Module: "github.com/ThreeDotsLabs/watermill", With: "github.com/ThreeDotsLabs/watermill-amqp/v3",
		About: "Persistent, mandatory, ConfirmDelivery, a pool of as many channels as goroutines publish; one subscription for each handler at once, " +
			"acked after it; headers that are no strings removed before its marshaler refuses them; connects again. " +
			"Requests: its requestreply component, not confirmed, with one reply queue for the process, whose replies a subscriber written here hands to " +
			"those who wait, by operation id; as many subscriptions as the server answers at once.",
		RetryAbout: retryByHand,
		Sender:     func(_ context.Context, s Setting) (Sender, error) { return newMill(s) },
		Work: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return millWork(ctx, s, millConfig(s, commands, WorkArgs(s.Queue)), ready, h, declareWork)
		},
		Retry: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			args := WorkArgs(s.Queue)
			args["x-dead-letter-exchange"] = retryTier
			config := millConfig(s, commands, args)
			config.Consume.NoRequeueOnNack = true
			return millWork(ctx, s, config, ready, h, declareRetryByHand)
		},
		PrepareRetry: func(s Setting) error { return declareOver(s.URL, s, declareRetryByHand) },
		Caller:       newMillCaller,
		Serve:        millServe,
	}
}

func millConfig(s Setting, exchange string, args amqp.Table) wamqp.Config {
	config := wamqp.NewDurableQueueConfig(s.URL)
	config.Exchange = wamqp.ExchangeConfig{GenerateName: wamqp.GenerateExchangeNameConstant(exchange), Type: "direct", Durable: true}
	config.Queue.Arguments = args
	topic := func(topic string) string { return topic }
	config.QueueBind.GenerateRoutingKey, config.Publish.GenerateRoutingKey = topic, topic
	config.Publish.Mandatory, config.Publish.ConfirmDelivery = true, true
	config.Publish.ChannelPoolSize = max(s.Senders, 1)
	config.Consume.Qos.PrefetchCount = max(s.Prefetch/max(s.Concurrency, 1), 1)
	config.Marshaler = wamqp.DefaultMarshaler{PreprocessDelivery: func(d amqp.Delivery) amqp.Delivery {
		d.Headers = maps.Clone(d.Headers)
		maps.DeleteFunc(d.Headers, func(_ string, value any) bool {
			_, isString := value.(string)
			return !isString
		})
		return d
	}}
	return config
}

type mill struct {
	publisher *wamqp.Publisher
	topic     string
}

// millLog is the setting's log, or a logger that does nothing where nobody listens: the adapter formats everything.
func millLog(s Setting) watermill.LoggerAdapter {
	if !s.Log.Enabled(context.Background(), slog.LevelError) {
		return watermill.NopLogger{}
	}
	return watermill.NewSlogLogger(s.Log)
}

func newMill(s Setting) (*mill, error) {
	if !s.Declared {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return nil, err
		}
	}
	p, err := wamqp.NewPublisher(millConfig(s, commands, nil), millLog(s))
	return &mill{p, s.Queue}, err
}

func (m *mill) Send(ctx context.Context, p *Payload) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return m.publisher.Publish(m.topic, message.NewMessageWithContext(ctx, watermill.NewUUID(), body))
}

func (m *mill) Close(context.Context) error { return m.publisher.Close() }

func millWork(ctx context.Context, s Setting, config wamqp.Config, ready func(), h Handler, declare func(*amqp.Channel, Setting) error) error {
	if err := declareOver(s.URL, s, declare); err != nil {
		return err
	}
	subscriber, err := wamqp.NewSubscriber(config, millLog(s))
	if err != nil {
		return err
	}
	var handlers sync.WaitGroup
	for range s.Concurrency {
		messages, err := subscriber.Subscribe(context.WithoutCancel(ctx), s.Queue)
		if err != nil {
			return errors.Join(err, subscriber.Close())
		}
		handlers.Go(func() {
			for m := range messages {
				if handleBody(ctx, m.Payload, h) == nil {
					m.Ack()
				} else {
					m.Nack()
				}
			}
		})
	}
	if err := awaitConsumers(ctx, s, ready); err != nil {
		return err
	}
	<-ctx.Done()
	err = subscriber.Close()
	handlers.Wait()
	return err
}
