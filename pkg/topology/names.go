package topology

import (
	"strconv"
	"strings"
	"time"
)

// A Layout says which exchanges and retry tiers the services of a system share. Every service, tool and client of one
// system must use the same layout.
type Layout string

// The layouts. Queues have the same names in both.
const (
	// Shared is the default, and what the zero value means: all services share one exchange per kind of message, the
	// retry tiers, and the way back from them. A user who may write to an exchange reaches every queue that is bound to
	// it.
	Shared Layout = "shared"
	// Isolated gives each service its own exchanges, retry tiers and way back, so that the right to write to one
	// service's exchange reaches the queues of that service alone. Replies go through an exchange of the service that
	// answers, so that none needs to write to the default exchange, from which every queue can be reached.
	Isolated Layout = "isolated"
)

// Names makes the names of exchanges, queues and routing keys. Its zero value has no namespace, and the [Shared]
// layout.
//
// The methods take the service that a name belongs to, which the shared layout ignores: for what is sent, the owner of
// the contract; for what fails, the service that takes messages from the queue.
type Names struct {
	// Namespace prefixes every name, so that two systems can share a virtual host. Empty by default.
	Namespace string
	// Layout is the layout of the system. Default [Shared].
	Layout Layout
}

func (n Names) in(name string) string {
	if n.Namespace == "" {
		return name
	}
	return n.Namespace + "." + name
}

// of returns a name that belongs to one service in the isolated layout. The kind comes first, so that names sort by it.
func (n Names) of(kind, service string) string {
	if n.Layout == Isolated {
		kind += "." + service
	}
	return n.in(kind)
}

// CommandExchange is the direct exchange of the owner's commands.
func (n Names) CommandExchange(owner string) string { return n.of("commands", owner) }

// EventExchange is the topic exchange of the owner's events.
func (n Names) EventExchange(owner string) string { return n.of("events", owner) }

// RequestExchange is the direct exchange of the requests that the owner answers.
func (n Names) RequestExchange(owner string) string { return n.of("requests", owner) }

// ControlExchange is the direct exchange on which callers reach the workers of the owner, to cancel a request.
func (n Names) ControlExchange(owner string) string { return n.of("control", owner) }

// ReplyExchange is the direct exchange through which the owner answers: callers bind their reply queues to it. In the
// shared layout it is the default exchange, whose name is empty.
func (n Names) ReplyExchange(owner string) string {
	if n.Layout != Isolated {
		return ""
	}
	return n.of("replies", owner)
}

// OperatorExchange is the direct exchange on which operators reach the workers of a service. Callers need no right to
// it.
func (n Names) OperatorExchange(service string) string { return n.of("operators", service) }

// DeadLetterExchange is the direct exchange that takes a failed message to the dead-letter queue of its work queue.
func (n Names) DeadLetterExchange(consumer string) string { return n.of("dead-letters", consumer) }

// RetryReturnExchange is the direct exchange that takes a message from a retry tier back to its work queue.
func (n Names) RetryReturnExchange(consumer string) string {
	return n.of("retry", consumer) + ".return"
}

// RetryLost is the fanout exchange, and the queue, of messages whose work queue was gone when their retry was due.
func (n Names) RetryLost(consumer string) string { return n.of("retry", consumer) + ".lost" }

// RetryTier is the fanout exchange, and the queue, where messages wait for d before they are tried again.
func (n Names) RetryTier(consumer string, d time.Duration) string {
	return n.of("retry", consumer) + "." + duration(d)
}

// Quarantine is the fanout exchange, and the queue, of messages that may have crashed the service that took them. Each
// service has its own in both layouts.
func (n Names) Quarantine(consumer string) string { return n.in("quarantine." + consumer) }

// RoutingKey is the key a contract's messages are published with.
func (n Names) RoutingKey(contract string) string { return n.in(contract) }

// ContractQueue is the queue of a command or of a request.
func (n Names) ContractQueue(contract string) string { return n.in(contract) }

// SubscriptionQueue is the queue in which one service collects an event. The name distinguishes subscriptions of one
// service to the same event; it is empty for the first.
func (n Names) SubscriptionQueue(service, name, event string) string {
	if name != "" {
		service += "." + name
	}
	return n.in(service + ".on." + event)
}

// KeptStream is the stream in which an event is kept.
func (n Names) KeptStream(event string) string { return n.in(event) + ".kept" }

// PerProcess is the name of the subscription for which each process has a queue of its own.
const PerProcess = "per-process"

// ProcessQueue is the exclusive queue in which one process of a service collects an event.
func (n Names) ProcessQueue(service, event, instance string) string {
	return n.SubscriptionQueue(service, PerProcess, event) + "." + instance
}

// Consumer returns the service that takes messages from a queue whose name [Names.ContractQueue] or
// [Names.SubscriptionQueue] made. The name of any other queue does not say.
func (n Names) Consumer(queue string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(queue, n.in("")), ".")
	return service
}

// DeadLetterQueue is the queue that keeps the failed messages of a work queue.
func (n Names) DeadLetterQueue(queue string) string { return queue + DeadLetterSuffix }

// DeadLetterSuffix ends the name of every dead-letter queue.
const DeadLetterSuffix = ".dlq"

// ReplyQueue is the exclusive queue in which one process of a service collects its replies.
func (n Names) ReplyQueue(service, instance string) string {
	return n.ReplyPrefix() + service + "." + instance
}

// ReplyPrefix begins the names that [Names.ReplyQueue] makes.
func (n Names) ReplyPrefix() string { return n.in("reply.") }

// ReplyAddresses are the addresses that a request may be answered to without further settings: each is the beginning of
// a name, and a *. Direct reply-to and queues that the broker has named are only reached through the default exchange.
func (n Names) ReplyAddresses() []string {
	ours := n.ReplyPrefix() + "*"
	if n.Layout == Isolated {
		return []string{ours}
	}
	return []string{"amq.rabbitmq.reply-to.*", "amq.gen-*", ours}
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
	return strings.ReplaceAll(strings.ReplaceAll(d.String(), "m0s", "m"), "h0m", "h")
}
