package topology

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Limits that the queues carry as arguments. An argument of a queue cannot be changed once the queue exists.
const (
	// DeliveryLimit is how often a work queue delivers a message before it dead-letters it itself: the last net, since
	// a restart of the worker or of the broker may count as well. RabbitMQ before 4.0 has no limit by default; 4.0 and
	// later drop a message at its 21st return.
	DeliveryLimit = 1000
	// KeptDeliveryLimit is the limit of queues that keep messages for later. Looking at them counts as a delivery on
	// some versions, and a queue without a limit reorders what it gets back (RabbitMQ 3.10).
	KeptDeliveryLimit = 1_000_000
	// RequestQueueExpiry is how long a request queue outlives its last worker. Until then a call waits for a worker;
	// after it, a call fails as unroutable.
	RequestQueueExpiry = 60 * time.Second
)

// Serving returns the exchange on which operators reach the workers of a service.
func (n Names) Serving(service string) Topology {
	return Topology{Exchanges: []Exchange{{Name: n.OperatorExchange(service), Type: Direct}}}
}

// Calling returns what a caller of a request needs: the exchanges alone. A caller never declares a request's queue, so
// that a request that nobody serves is returned to it as unroutable.
func (n Names) Calling(owner string, exchange Exchange) Topology {
	t := Topology{Exchanges: []Exchange{{Name: n.ControlExchange(owner), Type: Direct}, exchange}}
	if replies := n.ReplyExchange(owner); replies != "" {
		t.Exchanges = append(t.Exchanges, Exchange{Name: replies, Type: Direct})
	}
	return t
}

// Request returns the way of a request to the service that answers it.
func (n Names) Request(owner string, exchange Exchange, routingKey, queue string, queueType QueueType) Topology {
	t := bound(exchange, routingKey, Queue{Name: queue, Args: map[string]any{
		"x-queue-type": string(queueType),
		"x-expires":    RequestQueueExpiry.Milliseconds(),
	}})
	t.Add(n.Calling(owner, exchange))
	return t
}

// Control returns the exclusive queue in which one process of a service learns that requests of these contracts were
// cancelled.
func (n Names) Control(service, instance string, contracts ...string) Topology {
	queue, exchange := n.ControlQueue(service, instance), n.ControlExchange(service)
	t := Topology{
		Exchanges: []Exchange{{Name: exchange, Type: Direct}},
		Queues:    []Queue{{Name: queue, Exclusive: true}},
	}
	for _, c := range contracts {
		t.Bindings = append(t.Bindings, Binding{Exchange: exchange, RoutingKey: n.CancelKey(c), Queue: queue})
	}
	return t
}

// Work returns the queue from which a service takes commands or events, what is bound to it, and what failing needs.
// An exchange without a name is the default one: it exists, and every queue is bound to it.
func (n Names) Work(consumer string, exchange Exchange, routingKey, queue string) Topology {
	t := bound(exchange, routingKey, quorum(queue, DeliveryLimit, map[string]any{
		"x-dead-letter-exchange": n.DeadLetterExchange(consumer),
		// Without it the routing key of the publish would be used, which several queues may share.
		"x-dead-letter-routing-key": queue,
		"x-dead-letter-strategy":    "at-least-once",
	}))
	t.Add(n.Failing(consumer, queue))
	return t
}

// Process returns the exclusive queue in which one process of a service collects an event, with the bindings as its
// own. It has no retries and no dead letters.
func (n Names) Process(service, event, instance string, bindings ...Binding) Topology {
	queue := Queue{Name: n.ProcessQueue(service, event, instance), Exclusive: true, Args: map[string]any{"x-queue-type": string(Classic)}}
	t := Topology{Queues: []Queue{queue}, Bindings: slices.Clone(bindings)}
	for i := range t.Bindings {
		t.Bindings[i].Queue = queue.Name
	}
	return t
}

// Kept returns the stream that keeps an event for so long, up to so many bytes. RabbitMQ deletes whole segments, whose size
// is a tenth of that, or less.
func (n Names) Kept(exchange Exchange, routingKey, event string, age time.Duration, bytes int64) Topology {
	return bound(exchange, routingKey, Queue{Name: n.KeptStream(event), Args: map[string]any{
		"x-queue-type":                    string(Stream),
		"x-max-age":                       strconv.FormatInt(int64(age/time.Second), 10) + "s",
		"x-max-length-bytes":              bytes,
		"x-stream-max-segment-size-bytes": min(bytes/10, maxSegment),
	}})
}

// maxSegment is how large a segment of a stream is at most, in bytes: RabbitMQ's default.
const maxSegment = 500_000_000

// Failing returns what the failed messages of a work queue need: its dead-letter queue, and the way back from the retry
// tiers. It does not declare the work queue itself.
func (n Names) Failing(consumer, queue string) Topology {
	t := bound(Exchange{Name: n.DeadLetterExchange(consumer), Type: Direct}, queue, kept(n.DeadLetterQueue(queue)))
	t.Add(n.Returning(consumer, queue))
	return t
}

// Returning returns the way back from the retry tiers to a work queue.
func (n Names) Returning(consumer, queue string) Topology {
	t := n.retryReturn(consumer)
	t.Bindings = append(t.Bindings, Binding{Exchange: n.RetryReturnExchange(consumer), RoutingKey: queue, Queue: queue})
	return t
}

// RetryTiers returns the queues in which failed messages wait for the given delays. A message goes back through a
// direct exchange with an alternate: dead-lettering to the default exchange, some 32 messages for a queue that is gone
// would stall the tier for all queues.
func (n Names) RetryTiers(consumer string, delays ...time.Duration) Topology {
	t := n.retryReturn(consumer)
	for _, d := range slices.Compact(slices.Sorted(slices.Values(delays))) {
		name := n.RetryTier(consumer, d)
		t.Add(bound(Exchange{Name: name, Type: Fanout}, "", quorum(name, KeptDeliveryLimit, map[string]any{
			"x-message-ttl":          d.Milliseconds(),
			"x-dead-letter-exchange": n.RetryReturnExchange(consumer),
			"x-dead-letter-strategy": "at-least-once",
		})))
	}
	return t
}

// QuarantineQueue returns where a service keeps messages that may have crashed it, until it has tried them one by one.
// They are published with their work queue as the routing key.
func (n Names) QuarantineQueue(consumer string) Topology {
	return bound(Exchange{Name: n.Quarantine(consumer), Type: Fanout}, "", kept(n.Quarantine(consumer)))
}

// kept is a queue that keeps messages until somebody decides.
func kept(name string) Queue { return quorum(name, KeptDeliveryLimit, nil) }

// quorum is a queue that loses nothing. With reject-publish, a policy that limits its length refuses further messages,
// where it would drop confirmed ones otherwise.
func quorum(name string, deliveryLimit int64, further map[string]any) Queue {
	args := map[string]any{"x-queue-type": string(Quorum), "x-delivery-limit": deliveryLimit, "x-overflow": "reject-publish"}
	maps.Copy(args, further)
	return Queue{Name: name, Args: args}
}

func (n Names) retryReturn(consumer string) Topology {
	lost := n.RetryLost(consumer)
	t := bound(Exchange{Name: lost, Type: Fanout}, "", kept(lost))
	t.Exchanges = append(t.Exchanges, Exchange{
		Name: n.RetryReturnExchange(consumer), Type: Direct, Args: map[string]any{"alternate-exchange": lost},
	})
	return t
}

// bound returns a queue, and its binding to an exchange.
func bound(exchange Exchange, routingKey string, queue Queue) Topology {
	t := Topology{Queues: []Queue{queue}}
	if exchange.Name != "" {
		t.Exchanges = []Exchange{exchange}
		t.Bindings = []Binding{{Exchange: exchange.Name, RoutingKey: routingKey, Queue: queue.Name}}
	}
	return t
}
