//go:build !short

package peers

import (
	"context"
	"errors"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/components/requestreply"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// replyTo is the metadata of a request that names the queue of its reply.
const replyTo = "reply_to"

// millSide is what both sides of watermill's requests need: a way to send commands and a backend for replies, which
// wait in one queue for each process that asks.
type millSide struct {
	commands *wamqp.Publisher
	replies  *wamqp.Publisher
	received *wamqp.Subscriber
	backend  *requestreply.PubSubBackend[Payload]
	waiting  millReplies
}

func newMillSide(s Setting) (_ *millSide, err error) {
	side := &millSide{}
	defer func() {
		if err != nil {
			side.close()
		}
	}()
	requests := millConfig(s, requests, nil)
	requests.Marshaler = transientOf(requests.Marshaler)
	requests.Publish.ConfirmDelivery = false
	if side.commands, err = wamqp.NewPublisher(requests, millLog(s)); err != nil {
		return nil, err
	}
	replies := wamqp.NewNonDurableQueueConfig(s.URL)
	replies.Queue.Exclusive, replies.Queue.AutoDelete = true, true
	replies.Publish.ChannelPoolSize = max(s.Concurrency, 1)
	replies.Consume.Qos.PrefetchCount = s.Prefetch
	if side.replies, err = wamqp.NewPublisher(replies, millLog(s)); err != nil {
		return nil, err
	}
	if side.received, err = wamqp.NewSubscriber(replies, millLog(s)); err != nil {
		return nil, err
	}
	timeout := callTimeout
	side.backend, err = requestreply.NewPubSubBackend(requestreply.PubSubBackendConfig{
		Publisher: side.replies,
		SubscriberConstructor: func(requestreply.PubSubBackendSubscribeParams) (message.Subscriber, error) {
			return &side.waiting, nil
		},
		GeneratePublishTopic: func(p requestreply.PubSubBackendPublishParams) (string, error) {
			return p.CommandMessage.Metadata.Get(replyTo), nil
		},
		GenerateSubscribeTopic: func(p requestreply.PubSubBackendSubscribeParams) (string, error) {
			return string(p.OperationID), nil
		},
		OnListenForReplyFinished: func(_ context.Context, p requestreply.PubSubBackendSubscribeParams) {
			side.waiting.forget(string(p.OperationID))
		},
		Logger: millLog(s), ListenForReplyTimeout: &timeout, AckCommandErrors: true,
	}, requestreply.BackendPubsubJSONMarshaler[Payload]{})
	return side, err
}

// millReplies is a subscriber of replies, of which each topic is one operation and gets one reply.
type millReplies struct {
	mu      sync.Mutex
	waiting map[string]chan *message.Message // by operation id
}

func (m *millReplies) Subscribe(_ context.Context, operation string) (<-chan *message.Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting == nil {
		m.waiting = make(map[string]chan *message.Message)
	}
	reply := make(chan *message.Message, 1)
	m.waiting[operation] = reply
	return reply, nil
}

func (m *millReplies) Close() error { return nil }

func (m *millReplies) forget(operation string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, operation)
}

// handOn passes replies to the waiting callers. A reply is acked at once, since it is useless to other processes.
func (m *millReplies) handOn(replies <-chan *message.Message) {
	for reply := range replies {
		operation := reply.Metadata.Get(requestreply.OperationIDMetadataKey)
		m.mu.Lock()
		w, ok := m.waiting[operation]
		delete(m.waiting, operation)
		m.mu.Unlock()
		if ok {
			w <- reply
		}
		reply.Ack()
	}
}

// transientOf is the marshaler without persistence: nobody wants requests after their deadline.
func transientOf(m wamqp.Marshaler) wamqp.Marshaler {
	d, _ := m.(wamqp.DefaultMarshaler)
	d.NotPersistentDeliveryMode = true
	return d
}

func (m *millSide) close() error {
	var errs []error
	if m.commands != nil {
		errs = append(errs, m.commands.Close())
	}
	if m.received != nil {
		errs = append(errs, m.received.Close())
	}
	if m.replies != nil {
		errs = append(errs, m.replies.Close())
	}
	return errors.Join(errs...)
}

type millCaller struct {
	*millSide
	bus *cqrs.CommandBus
}

func newMillCaller(ctx context.Context, s Setting) (Caller, error) {
	side, err := newMillSide(s)
	if err != nil {
		return nil, err
	}
	queue := "reply." + watermill.NewUUID()
	replies, err := side.received.Subscribe(context.WithoutCancel(ctx), queue)
	if err != nil {
		return nil, errors.Join(err, side.close())
	}
	go side.waiting.handOn(replies)
	bus, err := cqrs.NewCommandBusWithConfig(side.commands, cqrs.CommandBusConfig{
		GeneratePublishTopic: func(cqrs.CommandBusGeneratePublishTopicParams) (string, error) { return s.Queue, nil },
		OnSend: func(p cqrs.CommandBusOnSendParams) error {
			p.Message.Metadata.Set(replyTo, queue)
			return nil
		},
		Marshaler: cqrs.JSONMarshaler{}, Logger: millLog(s),
	})
	return millCaller{side, bus}, err
}

func (m millCaller) Call(ctx context.Context, p *Payload) (*Payload, error) {
	reply, err := requestreply.SendWithReply[Payload](ctx, m.bus, m.backend, p)
	if err != nil {
		return nil, err
	}
	return &reply.HandlerResult, reply.Error
}

func (m millCaller) Close(context.Context) error { return m.close() }

// merged makes one subscription of several: one alone handles one message at a time.
type merged struct {
	*wamqp.Subscriber
	n int
}

func (m merged) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	var all sync.WaitGroup
	for range m.n {
		in, err := m.Subscriber.Subscribe(ctx, topic)
		if err != nil {
			return nil, err
		}
		all.Go(func() {
			for msg := range in {
				out <- msg
			}
		})
	}
	go func() {
		all.Wait()
		close(out)
	}()
	return out, nil
}

func millServe(ctx context.Context, s Setting, ready func(), r Responder) error {
	if err := declareOver(s.URL, s, declareRequests); err != nil {
		return err
	}
	side, err := newMillSide(s)
	if err != nil {
		return err
	}
	subscriber, err := wamqp.NewSubscriber(millConfig(s, requests, amqp.Table{"x-queue-type": "classic", "x-expires": int64(60_000)}), millLog(s))
	if err != nil {
		return errors.Join(err, side.close())
	}
	router, err := message.NewRouter(message.RouterConfig{}, millLog(s))
	if err != nil {
		return err
	}
	processor, err := cqrs.NewCommandProcessorWithConfig(router, cqrs.CommandProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.CommandProcessorGenerateSubscribeTopicParams) (string, error) { return s.Queue, nil },
		SubscriberConstructor: func(cqrs.CommandProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return merged{subscriber, s.Concurrency}, nil
		},
		Marshaler: cqrs.JSONMarshaler{}, Logger: watermill.NopLogger{},
	})
	if err != nil {
		return err
	}
	err = processor.AddHandlers(requestreply.NewCommandHandlerWithResult("bench", side.backend, func(ctx context.Context, p *Payload) (Payload, error) {
		reply, err := r(ctx, p)
		if err != nil {
			return Payload{}, err
		}
		return *reply, nil
	}))
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-router.Running():
			ready()
		case <-ctx.Done():
		}
	}()
	return errors.Join(router.Run(ctx), subscriber.Close(), side.close())
}
