package topology

import "fmt"

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

// An Exchange is where messages are published. It is durable unless Transient: all of Leveret's own are.
type Exchange struct {
	Name string
	Type string // one of the above, or a plugin's
	// Transient is gone after a restart of the broker, AutoDelete when nothing is bound to it any more, and Internal takes
	// messages from other exchanges alone.
	Transient, AutoDelete, Internal bool
	// Args are the optional arguments, such as alternate-exchange; nil for none.
	Args map[string]any
}

// A Queue is where messages wait. It is durable unless Transient or Exclusive. What is exclusive goes with its connection,
// and others cannot use it.
type Queue struct {
	Name      string
	Exclusive bool
	// Transient is gone after a restart of the broker, which RabbitMQ 4.3 refuses unless told otherwise; AutoDelete when its
	// last consumer has gone.
	Transient, AutoDelete bool
	// Args are the optional arguments, x-queue-type first of all; nil for none.
	Args map[string]any
}

// A Binding takes messages from an exchange to a queue.
type Binding struct {
	Exchange   string
	RoutingKey string
	Queue      string
	// Args are what an exchange of headers looks for; nil for none.
	Args map[string]any
}

// A Topology is a set of exchanges, queues and bindings. The zero value is empty and ready to use.
type Topology struct {
	Exchanges []Exchange
	Queues    []Queue
	Bindings  []Binding
}

// Add puts everything of others into t, each thing once: of two exchanges or two queues with one name the first stays.
// Its cost is that of all that is in t and others, so it is better to add many others in one call.
func (t *Topology) Add(others ...Topology) {
	all := append([]Topology{*t}, others...)
	t.Exchanges = distinct(all, func(t Topology) []Exchange { return t.Exchanges }, func(e Exchange) string { return e.Name })
	t.Queues = distinct(all, func(t Topology) []Queue { return t.Queues }, func(q Queue) string { return q.Name })
	t.Bindings = distinct(all, func(t Topology) []Binding { return t.Bindings }, func(b Binding) string { return fmt.Sprintf("%#v", b) })
}

// Empty reports whether nothing is in t.
func (t *Topology) Empty() bool { return len(t.Exchanges)+len(t.Queues)+len(t.Bindings) == 0 }

// distinct returns the elements of all whose key no earlier one has.
func distinct[T any, K comparable](all []Topology, part func(Topology) []T, key func(T) K) []T {
	var found []T
	seen := make(map[K]bool)
	for _, t := range all {
		for _, one := range part(t) {
			if k := key(one); !seen[k] {
				seen[k] = true
				found = append(found, one)
			}
		}
	}
	return found
}
