package topology

import (
	"strconv"
	"strings"
	"time"
)

// Names makes the names of exchanges, queues and routing keys. Its zero value is the default namespace.
type Names struct {
	// Namespace prefixes every name, so that two systems can share a virtual host. Empty by default.
	Namespace string
}

func (n Names) in(name string) string {
	if n.Namespace == "" {
		return name
	}
	return n.Namespace + "." + name
}

// CommandExchange is the direct exchange that all commands go through.
func (n Names) CommandExchange() string { return n.in("commands") }

// EventExchange is the topic exchange that all events go through.
func (n Names) EventExchange() string { return n.in("events") }

// RequestExchange is the direct exchange that all requests go through.
func (n Names) RequestExchange() string { return n.in("requests") }

// DeadLetterExchange is the direct exchange that takes a failed message to the dead-letter queue of its work queue.
func (n Names) DeadLetterExchange() string { return n.in("dead-letters") }

// ControlExchange is the direct exchange of the messages that workers tell each other, such as "cancel this request".
func (n Names) ControlExchange() string { return n.in("control") }

// RetryReturnExchange is the direct exchange that takes a message from a retry tier back to its work queue.
func (n Names) RetryReturnExchange() string { return n.in("retry.return") }

// RetryLost is the fanout exchange, and the queue, of messages whose work queue was gone when their retry was due.
func (n Names) RetryLost() string { return n.in("retry.lost") }

// RetryTier is the fanout exchange, and the queue, where messages wait for d before they are tried again.
func (n Names) RetryTier(d time.Duration) string { return n.in("retry." + duration(d)) }

// RoutingKey is the key a contract's messages are published with.
func (n Names) RoutingKey(contract string) string { return n.in(contract) }

// ContractQueue is the queue of a command or of a request.
func (n Names) ContractQueue(contract string) string { return n.in(contract) }

// SubscriptionQueue is the queue in which one service collects an event. The name tells two subscriptions of one
// service to one event apart; it is empty for the first.
func (n Names) SubscriptionQueue(service, name, event string) string {
	if name != "" {
		service += "." + name
	}
	return n.in(service + ".on." + event)
}

// DeadLetterQueue is the queue that keeps the failed messages of a work queue.
func (n Names) DeadLetterQueue(queue string) string { return queue + DeadLetterSuffix }

// DeadLetterSuffix ends the name of every dead-letter queue.
const DeadLetterSuffix = ".dlq"

// ReplyQueue is the exclusive queue in which one process of a service collects its replies.
func (n Names) ReplyQueue(service, instance string) string {
	return n.in("reply." + service + "." + instance)
}

// ControlQueue is the exclusive queue in which one process of a service hears control messages.
func (n Names) ControlQueue(service, instance string) string {
	return n.in("control." + service + "." + instance)
}

// CancelKey is the routing key, on the control exchange, that cancels a running request.
func (n Names) CancelKey(contract string) string { return n.in("cancel." + contract) }

// duration writes d as people do: 250ms, 1s, 1m30s, 10m, 1h30m.
func duration(d time.Duration) string {
	if d < time.Second || d%time.Second != 0 {
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
