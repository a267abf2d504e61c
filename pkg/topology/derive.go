package topology

import (
	"slices"
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
	t := Topology{Exchanges: []Exchange{{Name: n.ControlExchange(owner), Type: Direct}}}
	if exchange.Name != "" {
		t.Exchanges = append(t.Exchanges, exchange)
	}
	return t
}

// Request returns the way of a request to the service that answers it.
func (n Names) Request(owner string, exchange Exchange, routingKey, queue string, queueType QueueType) Topology {
	var t Topology
	t.bind(exchange, routingKey, Queue{Name: queue, Args: map[string]any{
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
	var t Topology
	t.bind(exchange, routingKey, Queue{Name: queue, Args: map[string]any{
		"x-queue-type":           string(Quorum),
		"x-delivery-limit":       int64(DeliveryLimit),
		"x-dead-letter-exchange": n.DeadLetterExchange(consumer),
		// Without it the routing key of the publish would be used, which several queues may share.
		"x-dead-letter-routing-key": queue,
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish",
	}})
	t.Add(n.Failing(consumer, queue))
	return t
}

// Failing returns what the failed messages of a work queue need: its dead-letter queue, and the way back from the retry
// tiers. It does not declare the work queue itself.
func (n Names) Failing(consumer, queue string) Topology {
	var t Topology
	t.bind(Exchange{Name: n.DeadLetterExchange(consumer), Type: Direct}, queue, kept(n.DeadLetterQueue(queue)))
	t.Add(n.retryReturn(consumer))
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
		t.bind(Exchange{Name: name, Type: Fanout}, "", Queue{Name: name, Args: map[string]any{
			"x-queue-type":           string(Quorum),
			"x-delivery-limit":       int64(KeptDeliveryLimit),
			"x-message-ttl":          d.Milliseconds(),
			"x-dead-letter-exchange": n.RetryReturnExchange(consumer),
			"x-dead-letter-strategy": "at-least-once",
			"x-overflow":             "reject-publish",
		}})
	}
	return t
}

// QuarantineQueue returns where a service keeps messages that may have crashed it, until it has tried them one by one.
// They are published with their work queue as the routing key.
func (n Names) QuarantineQueue(consumer string) Topology {
	var t Topology
	t.bind(Exchange{Name: n.Quarantine(consumer), Type: Fanout}, "", kept(n.Quarantine(consumer)))
	return t
}

// kept is a queue that keeps messages until somebody decides. With reject-publish, a policy that limits its length
// refuses further messages, where it would drop confirmed ones otherwise.
func kept(name string) Queue {
	return Queue{Name: name, Args: map[string]any{
		"x-queue-type":     string(Quorum),
		"x-delivery-limit": int64(KeptDeliveryLimit),
		"x-overflow":       "reject-publish",
	}}
}

func (n Names) retryReturn(consumer string) Topology {
	lost := n.RetryLost(consumer)
	var t Topology
	t.bind(Exchange{Name: lost, Type: Fanout}, "", kept(lost))
	t.Exchanges = append(t.Exchanges, Exchange{
		Name: n.RetryReturnExchange(consumer), Type: Direct, Args: map[string]any{"alternate-exchange": lost},
	})
	return t
}

// bind adds a queue, and its binding to an exchange.
func (t *Topology) bind(exchange Exchange, routingKey string, queue Queue) {
	t.Queues = append(t.Queues, queue)
	if exchange.Name != "" {
		t.Exchanges = append(t.Exchanges, exchange)
		t.Bindings = append(t.Bindings, Binding{Exchange: exchange.Name, RoutingKey: routingKey, Queue: queue.Name})
	}
}
