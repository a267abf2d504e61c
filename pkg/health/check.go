package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An examination collects findings.
type examination struct {
	*Facts
	Config
	findings []Finding
}

func (e *examination) add(check string, state State, q *Queue, next, format string, args ...any) {
	f := Finding{Check: check, State: state, Text: fmt.Sprintf(format, args...), Next: next}
	if q != nil {
		f.Queue, f.Service = q.Name, q.Service
	}
	e.findings = append(e.findings, f)
}

// fine adds a finding if a check has found nothing.
func (e *examination) fine(check, text string) {
	for _, f := range e.findings {
		if f.Check == check {
			return
		}
	}
	e.add(check, OK, nil, "", "%s", text)
}

// command returns a command line of the program.
func (e *examination) command(format string, args ...any) string {
	return e.Program + " " + fmt.Sprintf(format, args...)
}

func (e *examination) broker() {
	nodes := ""
	if len(e.Nodes) > 0 {
		nodes = ", " + count(len(e.Nodes), "node")
	}
	e.add(CheckBroker, OK, nil, "", "RabbitMQ %s at %s%s, virtual host %s", e.Version, e.Address, nodes, e.VHost)
	for _, n := range e.Nodes {
		if !n.Running {
			e.add(CheckNode, Failed, nil, "rabbitmqctl cluster_status", "%s is down", n.Name)
		}
		if len(n.Partitions) > 0 {
			e.add(CheckNode, Failed, nil, "rabbitmqctl cluster_status", "%s is cut off from %s by a network partition", n.Name, strings.Join(n.Partitions, ", "))
		}
	}
	if len(e.Nodes) > 0 {
		e.fine(CheckNode, "every node is up")
	}
}

// alarm checks what stops everything that is sent.
func (e *examination) alarm() {
	const effect = "the broker accepts no messages until the alarm ends"
	for _, n := range e.Nodes {
		if alarms := n.Alarms(); len(alarms) > 0 {
			e.add(CheckAlarm, Failed, nil, "rabbitmqctl status", "%s is short of %s: %s", n.Name, strings.Join(alarms, " and "), effect)
		}
	}
	if e.Alarm != "" {
		e.add(CheckAlarm, Failed, nil, "rabbitmqctl status", "%s: %s", e.Alarm, effect)
	}
	if len(e.Nodes) > 0 || !e.misses(alarms) {
		e.fine(CheckAlarm, "no node is short of memory or disk")
	}
}

// queues checks that queues can be used.
func (e *examination) queues() {
	for q := range e.each() {
		if q.Down != "" {
			e.add(CheckQueue, Failed, q, "rabbitmqctl cluster_status", "%s is not available (%s): a node that holds it may be down", q.Name, q.Down)
		}
	}
	if !e.misses(Policies) { // which come with the states
		e.fine(CheckQueue, "every queue is available")
	}
}

// undeclared checks that queues exist. None at all is a system that has not begun.
func (e *examination) undeclared() {
	var order []string
	missing, all := map[string][]*Queue{}, map[string]int{}
	for i := range e.Queues {
		q := &e.Queues[i]
		if !q.Seen || q.Kind != Work && q.Kind != Request {
			continue
		}
		all[q.Service]++
		if q.Declared {
			continue
		}
		if missing[q.Service] == nil {
			order = append(order, q.Service)
		}
		missing[q.Service] = append(missing[q.Service], q)
	}
	e.notKept()
	switch {
	case len(all) == 0:
		return
	case e.empty():
		e.add(CheckNotDeclared, OK, nil, "", "no service has run in the virtual host %s yet: it declares its queues when it first starts", e.VHost)
		return
	}
	for _, service := range order {
		e.undeclaredBy(service, missing[service], all[service])
	}
	e.fine(CheckNotDeclared, "every service has its queues")
}

// undeclaredBy says which queues of a service do not exist, and what follows. The queue of a request goes with its last
// worker; any other stays, so that it never existed.
func (e *examination) undeclaredBy(service string, missing []*Queue, all int) {
	if len(missing) == all {
		e.add(CheckNotDeclared, Warning, missing[0], e.command("queues"), "%s does not run: it has none of its queues (%s)", service, list(missing))
		return
	}
	requests := slices.DeleteFunc(slices.Clone(missing), func(q *Queue) bool { return q.Kind != Request })
	others := slices.DeleteFunc(slices.Clone(missing), func(q *Queue) bool { return q.Kind == Request })
	if len(others) > 0 {
		e.add(CheckNotDeclared, Warning, others[0], e.command("queues"), "%s has not declared %s", service, list(others))
	}
	if len(requests) > 0 {
		e.add(CheckNotDeclared, Warning, requests[0], e.command("queues"), "%s does not answer: there is no %s, so a call of it fails at once", service, list(requests))
	}
}

// notKept finds streams that do not exist, though something else of the service that publishes to them does.
func (e *examination) notKept() {
	there := map[string]bool{}
	for q := range e.each() {
		there[q.Service] = true
	}
	for i := range e.Queues {
		if q := &e.Queues[i]; q.Kind == Kept && q.Seen && !q.Declared && there[q.Service] {
			e.add(CheckNotDeclared, Warning, q, e.command("events ls"),
				"there is no %s, so nothing is kept: %s has not published that event yet, or the stream was deleted", q.Name, q.Service)
		}
	}
}

// empty reports whether all queues were seen, and none exists.
func (e *examination) empty() bool {
	return len(e.Queues) > 0 && !slices.ContainsFunc(e.Queues, func(q Queue) bool { return !q.Seen || q.Declared })
}

// consumers checks that something takes what waits. A service without any consumer has stopped.
func (e *examination) consumers() {
	var order []string
	idle := map[string][]*Queue{}
	seen := 0
	for q := range e.each(Work, Request) {
		seen++
		switch {
		case q.Consumers > 0, q.Down != "":
		case q.Ready > 0:
			e.add(CheckNoConsumers, Failed, q, e.command("queues %s", q.Name), "%s in %s, and no worker of %s takes %s", wait(q.Ready), q.Name, q.Service, them(q.Ready))
		default:
			if idle[q.Service] == nil {
				order = append(order, q.Service)
			}
			idle[q.Service] = append(idle[q.Service], q)
		}
	}
	for _, service := range order {
		e.add(CheckNoConsumers, Warning, idle[service][0], e.command("queues %s", pattern(idle[service])), "no worker of %s takes from %s; nothing waits there yet", service, list(idle[service]))
	}
	if seen > 0 {
		e.fine(CheckNoConsumers, "every queue has a worker")
	}
}

func (e *examination) deadLetters() {
	for q := range e.each(DeadLetters) {
		if q.Ready == 0 {
			continue
		}
		state := Warning
		newest, known := q.newest()
		if e.Recent > 0 && !q.Theirs && (!known || e.Now.Sub(newest) < e.Recent) {
			state = Failed
		}
		text := count(q.Ready, "dead letter") + " of " + q.Of
		if known {
			text += ", the newest " + age(e.Now.Sub(newest)) + " old"
		}
		failed := Queue{Name: q.Of, Service: q.Service} // named as `dlq` does
		e.add(CheckDeadLetters, state, &failed, e.command("dlq ls %s", q.Of), "%s%s", text, q.Letters.why(q.Ready))
	}
	if e.sees(DeadLetters) {
		e.fine(CheckDeadLetters, "no dead letters")
	}
}

// newest returns when the newest dead letter failed. It is known only if all were read.
func (q *Queue) newest() (at time.Time, known bool) {
	if q.Letters == nil || q.Letters.Read < q.Ready {
		return at, false
	}
	for _, r := range q.Letters.Reasons {
		if r.Newest.IsZero() {
			return at, false
		}
		if r.Newest.After(at) {
			at = r.Newest
		}
	}
	return at, !at.IsZero()
}

// mostReasons are named in the text of a finding.
const mostReasons = 3

// why lists the most frequent reasons.
func (l *Letters) why(ready int) string {
	if l == nil || len(l.Reasons) == 0 {
		return ""
	}
	text := ": "
	if l.Read < ready {
		text = fmt.Sprintf("; of %d that were read: ", l.Read)
	}
	for i, r := range l.Reasons {
		switch {
		case i == mostReasons:
			return text + fmt.Sprintf("; and %s", count(len(l.Reasons)-i, "further reason"))
		case i > 0:
			text += "; "
		}
		text += fmt.Sprintf("%d %s", r.Count, cmp.Or(r.Why, "for no known reason"))
		if r.Error != "" {
			text += fmt.Sprintf(" (%s)", cut(r.Error))
		}
	}
	return text
}

func (e *examination) lost() {
	for q := range e.each(Lost) {
		if q.Ready > 0 {
			e.add(CheckLost, Failed, q, e.command("dlq ls %s", q.Name), "%s in %s: %s queue was gone when %s due", count(q.Ready, "message"), q.Name, its(q.Ready), theyWere(q.Ready))
		}
	}
	if e.sees(Lost) {
		e.fine(CheckLost, "no message has lost its queue")
	}
}

func (e *examination) quarantine() {
	for q := range e.each(Quarantine) {
		switch {
		case q.Ready == 0:
		case q.Consumers == 0:
			e.add(CheckQuarantine, Failed, q, e.command("queues %s", q.Name), "%s may have crashed %s, and no worker tries %s", count(q.Ready, "message"), q.Service, them(q.Ready))
		default:
			e.add(CheckQuarantine, Warning, q, e.command("queues %s", q.Name), "%s may have crashed %s, and will be tried one at a time", count(q.Ready, "message"), q.Service)
		}
	}
	if e.sees(Quarantine) {
		e.fine(CheckQuarantine, "no message is suspected of a crash")
	}
}

// maxLag is how long a message may be ready in an outbox.
const maxLag = time.Minute

func (e *examination) outboxes() {
	for _, o := range e.Outboxes {
		fail := func(next, format string, args ...any) {
			e.add(CheckOutbox, Failed, &Queue{Service: o.Service}, e.command("outbox ls %s", o.Service)+next, format, args...)
		}
		if o.Aside > 0 {
			fail(" --state aside", "%s in the outbox of %s cannot be sent%s", count(o.Aside, "message"), o.Service, keysWait(o.BlockedKeys))
		}
		for _, trouble := range o.Trouble {
			fail("", "messages in the outbox of %s wait: %s", o.Service, trouble)
		}
		if o.Lag > maxLag {
			fail("", "a message in the outbox of %s has waited for %s", o.Service, age(o.Lag))
		}
		e.inbox(o)
	}
	if len(e.Outboxes) > 0 { // else nobody has one, or could be asked
		e.fine(CheckOutbox, "no message waits in an outbox for longer than it should")
	}
}

// inbox finds dead letters that are older than what the service recognises.
func (e *examination) inbox(o Outbox) {
	if o.Remembers == 0 {
		return
	}
	for q := range e.each(DeadLetters) {
		if q.Service != o.Service || q.Letters == nil {
			continue
		}
		var oldest time.Duration
		for _, r := range q.Letters.Reasons {
			if !r.Oldest.IsZero() {
				oldest = max(oldest, e.Now.Sub(r.Oldest))
			}
		}
		if oldest > o.Remembers {
			e.add(CheckOutbox, Warning, &Queue{Name: q.Of, Service: q.Service}, e.command("dlq show %s", q.Of),
				"dead letters of %s are up to %s old, and the inbox of %s keeps ids for %s: one that was handled before is handled again if it is replayed",
				q.Of, age(oldest), o.Service, age(o.Remembers))
		}
	}
}

func (e *examination) unseen() {
	for _, u := range e.Unseen {
		e.add(CheckUnseen, Warning, nil, u.Next, "%s: %s", u.What, u.Why)
	}
	e.fine(CheckUnseen, "everything could be looked at")
}
