package topology

import (
	"fmt"
	"maps"
	"slices"
)

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
	Stream  QueueType = "stream"
)

// An Exchange is where messages are published. It is durable unless Transient: all of Leveret's own are.
type Exchange struct {
	Name string
	Type string // one of the above, "headers", or a plugin's
	// Transient is gone after a restart of the broker, AutoDelete when nothing is bound to it any more, and Internal takes
	// messages from other exchanges alone.
	Transient, AutoDelete, Internal bool
	// Args are the optional arguments, such as alternate-exchange; nil for none.
	Args map[string]any
}

// A Queue is where messages wait. It is durable unless Transient or Exclusive. What is exclusive goes with its
// connection, and others cannot use it.
type Queue struct {
	Name      string
	Exclusive bool
	// Transient is gone after a restart of the broker, AutoDelete when its last consumer has gone, with what is in it: a
	// worker that pauses or stops may be the last. RabbitMQ 4.3 closes the connection that declares a transient queue,
	// unless its configuration permits transient_nonexcl_queues.
	Transient, AutoDelete bool
	// Args are the optional arguments, x-queue-type first of all; nil for none.
	Args map[string]any
}

// A Binding takes messages from an exchange to a queue.
type Binding struct {
	Exchange   string
	RoutingKey string
	Queue      string
	// Args are what a headers exchange looks for; nil for none.
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

// Own returns the part of t that belongs to one process, so that nobody else can declare it: exclusive queues, and
// their bindings.
func (t Topology) Own() Topology {
	t = t.Clone()
	t.Exchanges = nil
	t.Queues = slices.DeleteFunc(t.Queues, func(q Queue) bool { return !q.Exclusive })
	t.Bindings = slices.DeleteFunc(t.Bindings, func(b Binding) bool {
		return !slices.ContainsFunc(t.Queues, func(q Queue) bool { return q.Name == b.Queue })
	})
	return t
}

// Clone returns a copy that shares nothing with t but what is nested in its arguments.
func (t Topology) Clone() Topology {
	t.Exchanges, t.Queues, t.Bindings = slices.Clone(t.Exchanges), slices.Clone(t.Queues), slices.Clone(t.Bindings)
	for i := range t.Exchanges {
		t.Exchanges[i].Args = maps.Clone(t.Exchanges[i].Args)
	}
	for i := range t.Queues {
		t.Queues[i].Args = maps.Clone(t.Queues[i].Args)
	}
	for i := range t.Bindings {
		t.Bindings[i].Args = maps.Clone(t.Bindings[i].Args)
	}
	return t
}

// Empty reports whether nothing is in t.
func (t Topology) Empty() bool { return len(t.Exchanges)+len(t.Queues)+len(t.Bindings) == 0 }

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
