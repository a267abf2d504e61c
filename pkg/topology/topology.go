package topology

import (
	"maps"
	"slices"
)

// The exchange types of AMQP 0-9-1 that Leveret uses.
const (
	Direct = "direct"
	Topic  = "topic"
	Fanout = "fanout"
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

// Type returns the queue's type as its arguments have it: "quorum", "classic", "stream".
func (q Queue) Type() string {
	if t, ok := q.Args["x-queue-type"].(string); ok {
		return t
	}
	return "classic"
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
func (t *Topology) Add(others ...Topology) {
	for _, o := range others {
		for _, e := range o.Exchanges {
			if !slices.ContainsFunc(t.Exchanges, func(have Exchange) bool { return have.Name == e.Name }) {
				t.Exchanges = append(t.Exchanges, e)
			}
		}
		for _, q := range o.Queues {
			if !slices.ContainsFunc(t.Queues, func(have Queue) bool { return have.Name == q.Name }) {
				t.Queues = append(t.Queues, q)
			}
		}
		for _, b := range o.Bindings {
			if !slices.Contains(t.Bindings, b) {
				t.Bindings = append(t.Bindings, b)
			}
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

// Equal reports whether two sets of arguments mean the same to a broker. Whole numbers are equal whatever their Go type.
func Equal(a, b map[string]any) bool {
	return maps.EqualFunc(a, b, func(x, y any) bool { return number(x) == number(y) })
}

func number(v any) any {
	switch n := v.(type) {
	case int:
		return int64(n)
	case int32:
		return int64(n)
	case int16:
		return int64(n)
	case float64: // as JSON gives them
		if n == float64(int64(n)) {
			return int64(n)
		}
	}
	return v
}
