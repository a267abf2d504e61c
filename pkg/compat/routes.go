package compat

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/topology"
)

// routes compares where a contract is published.
func (c *checking) routes(old, now Contract) {
	was, is := old.Route, now.Route
	if was.Type != is.Type && !was.External && !is.External && was.Exchange == is.Exchange && was.Exchange != "" {
		c.add(Finding{
			Severity: Breaks, Contract: now.Name, Part: "route", Change: "type",
			Message: fmt.Sprintf("goes through the exchange %s of type %s, which was of type %s", is.Exchange, is.Type, was.Type),
			Side:    Receivers, Affected: "every process of the new release: RabbitMQ answers 406, since the type of an exchange cannot be changed",
			Do: "use an exchange with another name",
		})
	}
	if was.External != is.External {
		c.add(Finding{
			Severity: Careful, Contract: now.Name, Part: "route", Change: "external",
			Message: "has an address that is " + owned(is) + ", and was " + owned(was),
			Do:      "check that the exchange and the queue are there: what is somebody else's is declared only where the address has a Topology",
		})
	}
	c.marks(old, now)
	if was.Exchange == is.Exchange && was.RoutingKey == is.RoutingKey {
		return
	}
	f := Finding{
		Severity: Breaks, Contract: now.Name, Part: "route", Change: "address",
		Message: fmt.Sprintf("is published to %s, and was to %s", is, was),
	}
	switch {
	case is.External || was.External:
		f.Severity = Careful
		f.Affected = "messages of old and new senders, which take different ways"
		f.Do = "check that both ways lead to the same queue until everything is upgraded"
	case now.Kind == "request":
		f.Side, f.Affected, f.Upgrade = Servers, "servers that are not upgraded yet: new requests do not reach them", ServersFirst
		f.Do = "upgrade servers first"
	case now.Kind == "event":
		f.Side, f.Affected, f.Upgrade = Receivers, "receivers that are not upgraded yet: new events do not reach them", ReceiversFirst
		f.Do = "upgrade receivers first: their queues stay bound to the old route as well"
	default:
		f.Severity = Careful
		f.Do = "nothing at once: senders and receivers both bind the queue to the new route, and it stays bound to the old one; " +
			"unbind it there when everything is upgraded"
	}
	c.add(f)
}

// marks compares what the messages say of their contract. A receiver that takes several contracts from a queue goes by
// that, and so may programs of others.
func (c *checking) marks(old, now Contract) {
	was, is := old.Route, now.Route
	if was.MessageType == is.MessageType && maps.Equal(was.Headers, is.Headers) {
		return
	}
	f := Finding{
		Severity: Careful, Contract: now.Name, Part: "route", Change: "type", Message: "has messages with " + is.marks() + ", and had some with " + was.marks(),
		Affected: "programs that choose by type or by headers what to do with a message", Do: "check that each of them knows both",
	}
	if now.shares(c.current) || old.shares(c.released) {
		f.Severity, f.Side, f.Affected = Breaks, sidesOf(now.Kind).reader, "receivers of the other release: they take the messages for another contract's, or for none's"
		f.Do = "let the queue run empty, and stop the senders while the receivers are upgraded; or make a new contract"
	}
	c.add(f)
}

// marks returns the type and the headers that messages have.
func (r Route) marks() string {
	text := "the type " + cmp.Or(r.MessageType, "of the contract's name")
	if r.MessageType == "-" {
		text = "no type"
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		text += fmt.Sprintf(", %s=%s", name, r.Headers[name])
	}
	return text
}

// shares reports whether a queue of the contract has others as well.
func (c Contract) shares(l *Lock) bool {
	for _, other := range l.Contracts {
		for _, q := range other.Queues {
			if other.Name != c.Name && slices.ContainsFunc(c.Queues, func(own Queue) bool { return own.Name == q.Name }) {
				return true
			}
		}
	}
	return false
}

// String returns the exchange and the routing key.
func (r Route) String() string {
	exchange := r.Exchange
	if exchange == "" {
		exchange = "the default exchange"
	}
	return exchange + " with the key " + r.RoutingKey
}

func owned(r Route) string {
	if r.External {
		return "somebody else's"
	}
	return "ours"
}

// queues compares the queues of a contract, each known by the service and its subscription.
func (c *checking) queues(old, now Contract) {
	type user struct{ service, subscription string }
	after := map[user]Queue{}
	for _, q := range now.Queues {
		after[user{q.Service, q.Subscription}] = q
	}
	had := map[user]bool{}
	for _, was := range old.Queues {
		u := user{was.Service, was.Subscription}
		had[u] = true
		if is, ok := after[u]; ok {
			c.queue(now, was, is)
		} else {
			c.dropped(now, was)
		}
	}
	for _, q := range now.Queues {
		if had[user{q.Service, q.Subscription}] || now.Kind != "event" {
			continue
		}
		c.add(Finding{
			Severity: Safe, Contract: now.Name, Service: q.Service, Part: "queue", Change: "added",
			Message: q.Service + as(q.Subscription) + " subscribes now, with the queue " + q.Name,
			Do:      "events that are published before its first start do not reach it",
		})
	}
}

// queue compares a queue that both releases have.
func (c *checking) queue(now Contract, was, is Queue) {
	if was.Exclusive && is.Exclusive { // each process declares it anew
		return
	}
	if was.Name != is.Name {
		f := Finding{
			Severity: Breaks, Contract: now.Name, Service: is.Service, Part: "queue", Change: "name",
			Message: fmt.Sprintf("is taken by %s from the queue %s, and was from %s", is.Service, is.Name, was.Name),
			Side:    sidesOf(now.Kind).reader,
			Affected: "everything that waits in " + was.Name + ", which stays bound: while old receivers run, both queues get each message, " +
				"and after that the old one fills up",
			Do: "keep the queue; or stop the senders, let " + was.Name + " run empty, delete it, and upgrade both sides",
		}
		if now.Route.External {
			f.Affected = "everything that waits in " + was.Name + " or still goes there: new receivers do not take it"
			f.Do = "let old receivers run until " + was.Name + " is empty and nothing goes there any more"
		}
		c.add(f)
		return
	}
	if was.deadLetters() != is.deadLetters() {
		c.add(Finding{
			Severity: Careful, Contract: now.Name, Service: is.Service, Part: "queue", Change: "dead_letters",
			Message:  fmt.Sprintf("has its dead letters in %s, and had them in %s", is.deadLetters(), was.deadLetters()),
			Affected: "dead letters in " + was.deadLetters() + ", which the command line of the new release does not show",
			Do:       "replay or remove them with the old one; if messages are rejected now, check that the queue has a dead-letter exchange",
		})
	}
	var changed []string
	for _, name := range argNames(was, is) {
		if key(was.Args[name]) != key(is.Args[name]) {
			changed = append(changed, fmt.Sprintf("%s is %s, and was %s", name, key(is.Args[name]), key(was.Args[name])))
		}
	}
	if len(changed) == 0 || was.Args == nil || is.Args == nil { // somebody else's
		return
	}
	c.add(Finding{
		Severity: Careful, Contract: now.Name, Service: is.Service, Part: "queue", Change: "arguments",
		Message:  "has the queue " + is.Name + " with other arguments: " + strings.Join(changed, "; "),
		Affected: "queues that exist: RabbitMQ answers 406, since arguments cannot be changed; services log that and use the queue as it is",
		Do:       "delete the queue when it is empty, as docs/operations.md describes",
	})
}

func (q Queue) deadLetters() string {
	return cmp.Or(q.DeadLetters, topology.Names{}.DeadLetterQueue(q.Name))
}

func argNames(a, b Queue) []string {
	var all []string
	for _, q := range []Queue{a, b} {
		for name := range q.Args {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// dropped reports a queue that a service no longer takes messages from.
func (c *checking) dropped(now Contract, was Queue) {
	f := Finding{Severity: Breaks, Contract: now.Name, Service: was.Service, Part: "queue", Change: "removed", Side: sidesOf(now.Kind).reader}
	moved := ""
	for _, q := range now.Queues {
		if q.Name == was.Name {
			moved = q.Service
		}
	}
	switch {
	case was.Exclusive: // it goes with its process
		f.Severity, f.Side, f.Message = Safe, "", "is no longer subscribed to by "+was.Service+as(was.Subscription)
		if now.Kind != "event" {
			f.Severity, f.Message = Breaks, "is no longer served by "+was.Service
		}
	case moved != "":
		f.Severity = Careful
		f.Message = fmt.Sprintf("is taken from %s by %s, and was by %s", was.Name, moved, was.Service)
		f.Affected = "old and new processes, which share the queue while both run; what waits in quarantine." + was.Service + " stays there"
		f.Do = "stop " + was.Service + " when its quarantine is empty; " + moved + " needs permissions for the queue"
	case now.Kind == "event":
		f.Message = "is no longer subscribed to by " + was.Service + as(was.Subscription)
		f.Upgrade = AnyOrder
		f.Affected = "the queue " + was.Name + ", which stays bound and fills up"
		f.Do = "when the last old process of " + was.Service + " has stopped, delete " + was.Name + ", and " + was.deadLetters() + " once it is empty"
	default:
		f.Message = "is no longer served by " + was.Service
		f.Affected = "messages in the queue " + was.Name + ": nobody takes them any more"
		f.Do = "keep its handler until the queue is empty and nobody sends to it"
	}
	c.add(f)
}

// as returns how a subscription is named, after its service or its event.
func as(subscription string) string {
	if subscription == "" {
		return ""
	}
	return " as " + subscription
}

func queueNames(c Contract) string {
	var names []string
	for _, q := range c.Queues {
		names = append(names, q.Name)
	}
	if len(names) == 0 {
		return "its queue"
	}
	return strings.Join(slices.Compact(names), " and ")
}

// policies compares what senders and receivers rely on beside the payload.
func (c *checking) policies(old, now Contract) {
	if old.Kind != "request" {
		c.retries(old, now)
		return
	}
	if old.Idempotent && !now.Idempotent {
		c.add(Finding{
			Severity: Breaks, Contract: now.Name, Part: "idempotent", Change: "withdrawn", Message: "is no longer idempotent",
			Side: Callers, Affected: "callers that are not upgraded yet: they repeat it after a lost connection", Upgrade: CallersFirst,
			Do: "upgrade callers first, or go on answering a repeated request as before",
		})
	}
	if !old.Idempotent && now.Idempotent {
		c.add(Finding{
			Severity: Careful, Contract: now.Name, Part: "idempotent", Change: "added", Message: "is idempotent now",
			Side: Servers, Affected: "servers that are not upgraded yet: new callers repeat requests after a lost connection",
			Upgrade: ServersFirst, Do: "upgrade servers first",
		})
	}
	was, is := time.Duration(old.TimeoutMS)*time.Millisecond, time.Duration(now.TimeoutMS)*time.Millisecond
	switch {
	case is < was:
		c.add(Finding{
			Severity: Careful, Contract: now.Name, Part: "timeout", Change: "shortened",
			Message: fmt.Sprintf("has a timeout of %v, and had %v", is, was),
			Side:    Callers, Affected: "callers that are upgraded, if a server takes longer than that: for them the outcome is unknown",
			Do: "compare it with how long the servers take",
		})
	case is > was:
		c.add(Finding{
			Severity: Safe, Contract: now.Name, Part: "timeout", Change: "lengthened",
			Message: fmt.Sprintf("has a timeout of %v, and had %v", is, was),
		})
	}
	if old.HTTP != now.HTTP {
		c.add(Finding{
			Severity: Breaks, Contract: now.Name, Part: "http", Change: "pattern",
			Message: fmt.Sprintf("is served over HTTP at %s, and was at %s", now.HTTP, old.HTTP),
			Side:    Callers, Affected: "callers over HTTP whose server is of the other release: they get 404 or 405",
			Do: "keep the pattern, or make a new contract " + now.Name + ".v2 for the new one; over RabbitMQ and gRPC nothing changes",
		})
	}
}

// retries compares how failures are tried again.
func (c *checking) retries(old, now Contract) {
	add := func(s Severity, change, message, do string) {
		c.add(Finding{Severity: s, Contract: now.Name, Part: "retry", Change: change, Message: message, Do: do})
	}
	message := fmt.Sprintf("is tried %d times, and was %d times", now.Attempts, old.Attempts)
	switch {
	case now.Attempts < old.Attempts:
		add(Careful, "attempts", message, "expect dead letters at the next failure of messages that already had as many attempts")
	case now.Attempts > old.Attempts:
		add(Safe, "attempts", message, "")
	}
	if !slices.Equal(old.Delays, now.Delays) {
		add(Safe, "delays", fmt.Sprintf("waits %s between attempts, and waited %s", strings.Join(now.Delays, ", "), strings.Join(old.Delays, ", ")), "")
	}
	for _, code := range old.RetryOn {
		if !contains(now.RetryOn, code) {
			add(Careful, "retry_on", "is no longer tried again after "+code, "expect dead letters at once where that error was tried again")
		}
	}
	for _, code := range now.RetryOn {
		if !contains(old.RetryOn, code) {
			add(Safe, "retry_on", "is tried again after "+code+" now", "")
		}
	}
}

// tiers reports retry tiers that nothing uses any more.
func (c *checking) tiers() {
	used := func(l *Lock) []string {
		var all []string
		for _, contract := range l.Contracts {
			all = append(all, contract.Delays...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	now := used(c.current)
	var gone []string
	for _, delay := range used(c.released) {
		if d, err := time.ParseDuration(delay); err == nil && !contains(now, delay) {
			gone = append(gone, topology.Names{}.RetryTier("", d))
		}
	}
	if len(gone) > 0 {
		c.add(Finding{
			Severity: Careful, Part: "retry", Change: "tier", Message: "no contract uses any more: " + strings.Join(gone, ", "),
			Affected: "nothing: what waits in a retry tier still returns to its queue when it is due",
			Do:       "delete each when the last old process has stopped and it is empty",
		})
	}
}
