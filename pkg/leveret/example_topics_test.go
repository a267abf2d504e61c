package leveret_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Topics publishes and subscribes by topics that are known only at run time, as an adapter for Watermill, Go Cloud or Dapr
// does. A topic is a fanout exchange; each group of subscribers has a queue there, whose messages its members share.
type Topics struct {
	conn    *leveret.Conn
	group   string
	mu      sync.Mutex
	senders map[string]sender // by topic
}

type sender struct {
	event  *leveret.Event[json.RawMessage]
	client *leveret.Client
}

// event makes the contract of a topic. Its name says little; its address says all.
func (t *Topics) event(topic string) *leveret.Event[json.RawMessage] {
	queue := t.group + "." + topic
	return leveret.NewEvent[json.RawMessage]("topics.published", leveret.At(leveret.Address{
		Exchange: topic, Queue: queue, External: true, Type: leveret.NoType,
		Topology: topology.Topology{
			Exchanges: []topology.Exchange{{Name: topic, Type: topology.Fanout}},
			Queues:    []topology.Queue{{Name: queue, Args: map[string]any{"x-queue-type": "quorum"}}},
			Bindings:  []topology.Binding{{Exchange: topic, Queue: queue}},
		},
	}))
}

// sender returns the client of a topic. Clients of one Conn share its channels, so there may be one for each topic.
func (t *Topics) sender(topic string) (sender, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.senders[topic]; ok {
		return s, nil
	}
	event := t.event(topic)
	client, err := leveret.NewClient(t.conn, leveret.NewService("topics", leveret.Publishes(event)), leveret.ClientConfig{})
	if err != nil {
		return sender{}, err
	}
	t.senders[topic] = sender{event, client}
	return t.senders[topic], nil
}

// Publish returns nil when the broker has confirmed the message.
func (t *Topics) Publish(ctx context.Context, topic string, body []byte) error {
	s, err := t.sender(topic)
	if err != nil {
		return err
	}
	return s.event.Publish(ctx, s.client, body)
}

// Subscribe hands the messages of a topic to handle until ctx ends, and calls ready when none can be missed any more. A
// message for which handle returns an error is tried again, and at last put into the queue's dead letters.
func (t *Topics) Subscribe(ctx context.Context, topic string, ready func(), handle func(context.Context, []byte) error) error {
	event := t.event(topic)
	h := leveret.NewHandlers(leveret.NewService("topics", leveret.SubscribesTo(event)), leveret.HandlersConfig{})
	event.Subscribe(h, func(ctx context.Context, body json.RawMessage) error { return handle(ctx, body) })
	w, err := leveret.NewWorker(t.conn, h, leveret.WorkerConfig{
		OnReady:      ready,
		NoQuarantine: true, // a service has one, and its workers have different queues here
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// Close ends what publishes.
func (t *Topics) Close(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, s := range t.senders {
		errs = append(errs, s.client.Close(ctx))
	}
	return errors.Join(errs...)
}

// A Pub/Sub whose topics are known only at run time.
func Example_topics() {
	ctx := context.Background()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{})
	if err != nil {
		log.Fatal(err)
	}
	t := &Topics{conn: conn, group: "billing", senders: make(map[string]sender)}
	if err := t.Publish(ctx, "orders.eu", []byte(`{"order_id": "7"}`)); err != nil {
		log.Print(err)
	}
	if err := t.Subscribe(ctx, "orders.us", func() {}, func(_ context.Context, body []byte) error {
		fmt.Println(string(body))
		return nil
	}); err != nil {
		log.Print(err)
	}
}
