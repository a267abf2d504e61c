package operator

import (
	"encoding/json"
	"time"

	"github.com/leveretmq/leveret/pkg/topology"
)

// A Report is what one process of a service says of itself.
type Report struct {
	Service string `json:"service"`
	// Instance is the process among those of its service, as in the messages that it sends: host/pid, and perhaps more.
	Instance string    `json:"instance"`
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Version  string    `json:"version,omitempty"`
	Started  time.Time `json:"started"`
	// Queues are those from which the process has taken a message, by name.
	Queues []Queue `json:"queues"`
	// Outbox is what waits in the outbox that the process sends; nil where it sends none.
	Outbox *Outbox `json:"outbox,omitempty"`
}

// A Queue is what one process knows of one queue. Times are nil where they are not known.
type Queue struct {
	Name string `json:"name"`
	// InFlight is how many messages its handlers have begun and not ended.
	InFlight int `json:"in_flight"`
	// OldestSentAt is when the oldest of those was sent first, by its sender's clock.
	OldestSentAt *time.Time `json:"oldest_sent_at,omitempty"`
	// LastTakenAt is when a handler began a message last, and LastSentAt when that message was sent. Messages that come
	// back from a retry, or were delivered before, do not count for LastSentAt: others of their age have long been taken.
	LastTakenAt time.Time  `json:"last_taken_at"`
	LastSentAt  *time.Time `json:"last_sent_at,omitempty"`
	// Handled counts the messages whose handlers have ended, Failed those of them that ended with an error.
	Handled int64 `json:"handled"`
	Failed  int64 `json:"failed"`
}

const (
	// reportType is the type of a question for a report, and of the answer; commandType that of a command and its outcome.
	reportType  = "leveret.report"
	commandType = "leveret.command"
	contentType = "application/json"
)

// An order is a command for one process. It is sent to all of the service, since they have no addresses of their own.
type order struct {
	Instance string          `json:"instance"`
	Command  string          `json:"command"`
	Argument json.RawMessage `json:"argument"`
}

// An outcome is what became of it: a result or a problem.
type outcome struct {
	Result  json.RawMessage `json:"result,omitempty"`
	Problem json.RawMessage `json:"problem,omitempty"`
}

// replyExchange returns the exchange through which a service answers: the default one, or, in the isolated layout, the
// one through which it is asked, to which operators bind their reply queues.
func replyExchange(n topology.Names, service string) string {
	if n.Layout == topology.Isolated {
		return n.OperatorExchange(service)
	}
	return ""
}

// addresses begins the only addresses that are answered: direct reply-to, or, in the isolated layout, those of reply
// queues. With any other, a question could make a service write where its sender may not.
func addresses(n topology.Names) string {
	if n.Layout == topology.Isolated {
		return n.ReplyPrefix()
	}
	return "amq.rabbitmq.reply-to."
}

// Name is the name under which operators have their reply queues, in the isolated layout.
const Name = "operators"

// key is the routing key of a question to all processes of a service.
func key(n topology.Names, service string) string { return n.RoutingKey("report." + service) }

// most is how many questions wait for a process, and mostBytes how long they are together: the oldest make room.
const most, mostBytes = 256, 64 << 10

// listening returns the exclusive queue in which a process is asked. Its name is one that a service's user may declare
// anyway: see docs/operations.md.
func listening(n topology.Names, service, instance string) topology.Topology {
	exchange, queue := n.OperatorExchange(service), n.ControlQueue(service, "operators."+instance)
	t := n.Serving(service)
	t.Queues = []topology.Queue{{Name: queue, Exclusive: true, Args: map[string]any{
		"x-max-length": int64(most), "x-max-length-bytes": int64(mostBytes),
	}}}
	t.Bindings = []topology.Binding{{Exchange: exchange, RoutingKey: key(n, service), Queue: queue}}
	return t
}
