package topology

import (
	"slices"
	"time"
)

// Limits that the queues carry as arguments. An argument of a queue cannot be changed once the queue exists.
const (
	// DeliveryLimit is how often a work queue delivers a message before it dead-letters it on its own: the net under
	// crashes. RabbitMQ before 4.0 has none by default, 4.0 and later drop at the 21st return where it is unset.
	DeliveryLimit = 20
	// DeadLetterDeliveryLimit lets dead letters be looked at as often as anybody likes.
	DeadLetterDeliveryLimit = 1_000_000
	// RequestQueueExpiry is how long a request queue outlives its last worker. Until then a call waits for a worker;
	// after it, a call is told that nobody serves it.
	RequestQueueExpiry = 60 * time.Second
)

// Command is where a command travels: the exchange, its durable quorum queue, and what failing needs.
func (n Names) Command(contract string) Topology {
	return n.Work(Exchange{Name: n.CommandExchange(), Type: Direct}, n.RoutingKey(contract), n.ContractQueue(contract))
}

// Subscription is where an event travels to one subscriber.
func (n Names) Subscription(service, name, event string) Topology {
	return n.Work(Exchange{Name: n.EventExchange(), Type: Topic}, n.RoutingKey(event), n.SubscriptionQueue(service, name, event))
}

// Event is what a publisher of events needs: the exchange alone.
func (n Names) Event() Topology {
	return Topology{Exchanges: []Exchange{{Name: n.EventExchange(), Type: Topic}}}
}

// Requests is what a caller needs: the exchanges alone. A caller never declares a request's queue, so that a request
// nobody serves is returned to it as unroutable.
func (n Names) Requests() Topology {
	return Topology{Exchanges: []Exchange{
		{Name: n.RequestExchange(), Type: Direct},
		{Name: n.ControlExchange(), Type: Direct},
	}}
}

// Request is where a request travels. The queueType is "classic" or "quorum".
func (n Names) Request(exchange Exchange, routingKey, queue, queueType string) Topology {
	t := n.Requests()
	t.bind(exchange, routingKey, Queue{Name: queue, Args: map[string]any{
		"x-queue-type": queueType,
		"x-expires":    RequestQueueExpiry.Milliseconds(),
	}})
	return t
}

// Control is the exclusive queue in which one process hears that requests of these contracts were cancelled.
func (n Names) Control(service, instance string, contracts ...string) Topology {
	queue := n.ControlQueue(service, instance)
	t := Topology{
		Exchanges: []Exchange{{Name: n.ControlExchange(), Type: Direct}},
		Queues:    []Queue{{Name: queue, Exclusive: true}},
	}
	for _, c := range contracts {
		t.Bindings = append(t.Bindings, Binding{Exchange: n.ControlExchange(), RoutingKey: n.CancelKey(c), Queue: queue})
	}
	return t
}

// Failing is what the failures of a work queue need, whoever owns the queue: its dead-letter queue, and the way back
// from the retry tiers.
func (n Names) Failing(queue string) Topology {
	t := Topology{
		Exchanges: []Exchange{{Name: n.DeadLetterExchange(), Type: Direct}},
		Queues: []Queue{{Name: n.DeadLetterQueue(queue), Args: map[string]any{
			"x-queue-type":     "quorum",
			"x-delivery-limit": int64(DeadLetterDeliveryLimit),
		}}},
		Bindings: []Binding{{Exchange: n.DeadLetterExchange(), RoutingKey: queue, Queue: n.DeadLetterQueue(queue)}},
	}
	t.Add(n.retryReturn())
	t.Bindings = append(t.Bindings, Binding{Exchange: n.RetryReturnExchange(), RoutingKey: queue, Queue: queue})
	return t
}

// RetryTiers are the queues in which failed messages wait for the given delays. A message goes back through a direct
// exchange with an alternate: dead-lettering to the default exchange, some 32 messages for a queue that is gone would
// stall the tier for everybody.
func (n Names) RetryTiers(delays ...time.Duration) Topology {
	t := n.retryReturn()
	for _, d := range slices.Sorted(slices.Values(delays)) {
		name := n.RetryTier(d)
		t.Add(Topology{
			Exchanges: []Exchange{{Name: name, Type: Fanout}},
			Queues: []Queue{{Name: name, Args: map[string]any{
				"x-queue-type":           "quorum",
				"x-message-ttl":          d.Milliseconds(),
				"x-dead-letter-exchange": n.RetryReturnExchange(),
				"x-dead-letter-strategy": "at-least-once",
				"x-overflow":             "reject-publish",
			}}},
			Bindings: []Binding{{Exchange: name, Queue: name}},
		})
	}
	return t
}

// Work is a work queue, what is bound to it, and what failing needs. An exchange without a name is the default one:
// it exists, and every queue is bound to it.
func (n Names) Work(exchange Exchange, routingKey, queue string) Topology {
	var t Topology
	t.bind(exchange, routingKey, Queue{Name: queue, Args: map[string]any{
		"x-queue-type":           "quorum",
		"x-delivery-limit":       int64(DeliveryLimit),
		"x-dead-letter-exchange": n.DeadLetterExchange(),
		// Without it the routing key of the publish would be used, which several queues may share.
		"x-dead-letter-routing-key": queue,
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish",
	}})
	t.Add(n.Failing(queue))
	return t
}

// bind adds a queue, and its binding to an exchange.
func (t *Topology) bind(exchange Exchange, routingKey string, queue Queue) {
	one := Topology{Queues: []Queue{queue}}
	if exchange.Name != "" {
		one.Exchanges = []Exchange{exchange}
		one.Bindings = []Binding{{Exchange: exchange.Name, RoutingKey: routingKey, Queue: queue.Name}}
	}
	t.Add(one)
}

func (n Names) retryReturn() Topology {
	lost := n.RetryLost()
	return Topology{
		Exchanges: []Exchange{
			{Name: lost, Type: Fanout},
			{Name: n.RetryReturnExchange(), Type: Direct, Args: map[string]any{"alternate-exchange": lost}},
		},
		Queues:   []Queue{{Name: lost, Args: map[string]any{"x-queue-type": "quorum", "x-delivery-limit": int64(DeadLetterDeliveryLimit)}}},
		Bindings: []Binding{{Exchange: lost, Queue: lost}},
	}
}
