package topology

import "slices"

// The exchange types of AMQP 0-9-1 that Leveret uses.
const (
	Direct = "direct"
	Topic  = "topic"
	Fanout = "fanout"
)

// A QueueType is what a queue is made of, as its x-queue-type says.
type QueueType string

// The types of queue that Leveret declares.
const (
	Classic QueueType = "classic"
	Quorum  QueueType = "quorum"
)

// An Exchange is where messages are published. It is durable, always: RabbitMQ 4.3 refuses transient ones in places.
type Exchange struct {
	Name string
	Type string
	// Args are the optional arguments, such as alternate-exchange; nil for none.
	Args map[string]any
}

// A Queue is where messages wait. It is durable unless Exclusive, in which case it goes with its connection.
type Queue struct {
	Name      string
	Exclusive bool
	// Args are the optional arguments, x-queue-type first of all; nil for none.
	Args map[string]any
}

// A Binding takes messages from an exchange to a queue.
type Binding struct {
	Exchange   string
	RoutingKey string
	Queue      string
}

// A Topology is a set of exchanges, queues and bindings. The zero value is empty and ready to use.
type Topology struct {
	Exchanges []Exchange
	Queues    []Queue
	Bindings  []Binding
}

// Add puts everything of others into t, each thing once: of two exchanges or two queues with one name the first stays.
// Its cost is that of all that is in t and others, so many others are better added in one call.
func (t *Topology) Add(others ...Topology) {
	exchanges, queues, bindings := make(map[string]bool), make(map[string]bool), make(map[Binding]bool)
	for i, o := range append([]Topology{*t}, others...) {
		for _, e := range o.Exchanges {
			if !exchanges[e.Name] && i > 0 {
				t.Exchanges = append(t.Exchanges, e)
			}
			exchanges[e.Name] = true
		}
		for _, q := range o.Queues {
			if !queues[q.Name] && i > 0 {
				t.Queues = append(t.Queues, q)
			}
			queues[q.Name] = true
		}
		for _, b := range o.Bindings {
			if !bindings[b] && i > 0 {
				t.Bindings = append(t.Bindings, b)
			}
			bindings[b] = true
		}
	}
}

// Queue returns the queue with the given name.
func (t *Topology) Queue(name string) (Queue, bool) {
	i := slices.IndexFunc(t.Queues, func(q Queue) bool { return q.Name == name })
	if i < 0 {
		return Queue{}, false
	}
	return t.Queues[i], true
}
