package health

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/topology"
)

// policies names what policies of the broker do to queues against their own arguments: docs/policies.md has the whole
// table.
func (e *examination) policies() {
	for q := range e.each() {
		if q.Theirs {
			continue
		}
		for _, h := range harms(q, e.Version) {
			list := "list_policies"
			if q.Policy.ByOperator[h.key] {
				list = "list_operator_policies"
			}
			e.add(CheckPolicy, h.state, q, fmt.Sprintf("rabbitmqctl %s -p %s", list, e.VHost), "%s %s", q.Policy.Name(h.key), h.effect)
		}
	}
	if !e.misses(Policies) {
		e.fine(CheckPolicy, "no policy of the broker harms a queue")
	}
}

// Policies is what is unseen if nobody could be asked about policies.
const Policies = "policies"

// A harm is what one key of a policy does to a queue.
type harm struct {
	key    string
	state  State // Failed if messages are lost
	effect string
}

// limits are the keys that limit the length of a queue.
var limits = [...]string{"max-length", "max-length-bytes"}

// harms returns what the policies of a queue do to it on a version of the broker.
func harms(q *Queue, version string) []harm {
	var all []harm
	add := func(key string, state State, format string, args ...any) {
		all = append(all, harm{key, state, fmt.Sprintf(format, args...)})
	}
	if q.Kind == Kept {
		// Other keys do nothing to a stream.
		if text, _ := q.Policy.Definition["max-age"].(string); maxAge(text) < q.Age {
			add("max-age", Warning, "deletes what is kept in %s after %s; its contract says %s", q.Name, text, Short(q.Age))
		}
		if n, ok := q.number("max-length-bytes"); ok && n < float64(q.Bytes) {
			add("max-length-bytes", Warning, "deletes what is kept in %s beyond %.0f bytes; its contract says %d", q.Name, n, q.Bytes)
		}
		return all
	}
	if ms, ok := q.number("message-ttl"); ok {
		q.ttl(milliseconds(ms), add)
	}
	if ms, ok := q.number("expires"); ok {
		q.expires(milliseconds(ms), add)
	}
	// RabbitMQ 4 has no limit if it is negative; earlier, a message exceeds it at once.
	if n, ok := q.number("delivery-limit"); ok && (n >= 0 || strings.HasPrefix(version, "3.")) {
		q.deliveryLimit(max(n, 0), add)
	}
	if kind, _ := q.Policy.Definition["delayed-retry-type"].(string); kind != "" && kind != "disabled" && q.Kind != Work && q.Kind != Request {
		add("delayed-retry-type", Warning, "hides %s for a while after somebody looked at them", q.contents())
	}
	q.length(add)
	if _, ok := q.Policy.Definition["dead-letter-routing-key"]; ok && q.Kind == Retry {
		add("dead-letter-routing-key", Failed, "sends what waits in %s to another queue than its own, or to none", q.Name)
	}
	return all
}

// number returns the value of a key that is a number.
func (q *Queue) number(key string) (float64, bool) {
	n, ok := q.Policy.Definition[key].(float64)
	return n, ok
}

// maxAge parses RabbitMQ's ages of streams: 1Y, 6M, 7D, 3h, 10m, 5s. What it would not take is no limit.
func maxAge(text string) time.Duration {
	const day = 24 * time.Hour
	units := map[byte]time.Duration{'Y': 365 * day, 'M': 30 * day, 'D': day, 'h': time.Hour, 'm': time.Minute, 's': time.Second}
	last := max(len(text)-1, 0)
	n, err := strconv.ParseUint(text[:last], 10, 63)
	if err != nil || n == 0 || units[text[last]] == 0 || n > uint64(math.MaxInt64/units[text[last]]) {
		return math.MaxInt64
	}
	return time.Duration(n) * units[text[last]]
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms) * time.Millisecond }

type adder func(key string, state State, format string, args ...any)

func (q *Queue) ttl(d time.Duration, add adder) {
	const key = "message-ttl"
	switch q.Kind {
	case Work:
		add(key, Warning, "makes a message that waits in %s for %s a dead letter, though nothing has tried it", q.Name, Short(d))
	case Request:
		add(key, Warning, "drops a call that waits in %s for %s; its caller times out", q.Name, Short(d))
	case Retry:
		if d < q.Delay {
			add(key, Warning, "ends each wait in %s after %s instead of %s", q.Name, Short(d), Short(q.Delay))
		}
	case DeadLetters, Lost, Quarantine:
		add(key, Failed, "removes %s after %s", q.contents(), Short(d))
	case Kept:
	}
}

func (q *Queue) expires(d time.Duration, add adder) {
	const key = "expires"
	switch q.Kind {
	case Work:
		add(key, Failed, "deletes %s, with what waits in it, once no worker has run for %s", q.Name, Short(d))
	case Request:
		if d < topology.RequestQueueExpiry {
			add(key, Warning, "deletes %s %s after its last worker instead of %s: calls fail sooner", q.Name, Short(d), Short(topology.RequestQueueExpiry))
		}
	case DeadLetters, Retry, Lost, Quarantine:
		add(key, Failed, "deletes %s, with %s, when it is not used for %s", q.Name, q.contents(), Short(d))
	case Kept:
	}
}

func (q *Queue) deliveryLimit(n float64, add adder) {
	const key = "delivery-limit"
	switch q.Kind {
	case Work:
		if n < topology.DeliveryLimit {
			add(key, Warning, "makes a message of %s a dead letter once it was given back more than %.0f times, as a worker's stop or a lost connection may do", q.Name, n)
		}
	case Retry:
		if n < topology.KeptDeliveryLimit {
			add(key, Warning, "sends a message of %s on before its time once it was looked at more than %.0f times", q.Name, n)
		}
	case DeadLetters, Lost, Quarantine:
		if n < topology.KeptDeliveryLimit {
			add(key, Failed, "removes %s that were looked at more than %.0f times", q.contents(), n)
		}
	case Request, Kept:
	}
}

// length is about limits of the length, and about what happens at the limit. Quorum queues refuse further messages by
// their own argument, unless a policy has another overflow. Request queues have none, and drop their oldest by default.
func (q *Queue) length(add adder) {
	overflow, _ := q.Policy.Definition["overflow"].(string)
	drops := overflow == "drop-head"
	limited := false
	for _, key := range limits {
		n, ok := q.number(key)
		if !ok {
			continue
		}
		limited = true
		unit := "messages"
		if key == "max-length-bytes" {
			unit = "bytes"
		}
		switch {
		case q.Kind == Request && (drops || overflow == ""):
			add(key, Warning, "drops the oldest call of %s beyond %.0f %s; its caller times out", q.Name, n, unit)
		case q.Kind == Request:
			add(key, Warning, "refuses calls beyond %.0f %s in %s", n, unit, q.Name)
		case drops:
			add(key, Failed, "drops the oldest %s beyond %.0f %s, though they were confirmed", q.contents(), n, unit)
		case q.Kind == Work:
			add(key, Warning, "refuses what is sent to %s beyond %.0f %s: senders get an error", q.Name, n, unit)
		default:
			add(key, Warning, "refuses %s beyond %.0f %s: failed messages stay where they are, and are tried again", q.contents(), n, unit)
		}
	}
	if drops && !limited && (q.Kind == Work || q.Kind == Retry) {
		add("overflow", Failed, "lets the broker lose a message that it moves out of %s (dead-lettering is no longer at-least-once)", q.Name)
	}
}

// contents names the messages of a queue.
func (q *Queue) contents() string {
	switch q.Kind {
	case DeadLetters:
		return "dead letters of " + q.Of
	case Retry:
		return "messages that wait in " + q.Name + " for their retry"
	case Lost:
		return "messages in " + q.Name + " that have lost their queue"
	case Quarantine:
		return "messages in " + q.Name
	case Work, Request, Kept:
		return "messages of " + q.Name
	}
	return q.Name
}
