package cli

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func (a *App) dlqCommand() *cobra.Command {
	dlq := group("dlq", "Inspect, replay and remove dead letters: messages that failed for good",
		"Inspect, replay and remove dead letters: messages that failed for good. QUEUE is the work queue in which they failed, or\n"+
			a.names().RetryLost("SERVICE")+", which keeps messages whose queue was deleted while they waited for a retry.\n"+
			"Where failed messages end in a queue of somebody else's (DeadLetterQueue in the contract's address), QUEUE may be that, too.\n\n"+
			"Inspecting removes nothing. While a command reads dead letters, they are missing from their queue for a moment.",
		a.dlqListCommand(), a.dlqShowCommand(), a.dlqReplayCommand(), a.dlqRemoveCommand())
	dlq.Aliases = []string{"deadletters"}
	return dlq
}

// readAtOnce is how many dead letters of a queue a command reads by default: enough for people, in some seconds.
const readAtOnce = 10_000

// completeDeadLetters completes the first argument with the queues that can have dead letters.
func (a *App) completeDeadLetters() cobra.CompletionFunc {
	return a.completeQueue(func() []shownQueue {
		var all []shownQueue
		for _, q := range a.deadLetterQueues() {
			all = append(all, shownQueue{name: q.name, kind: kindWork, contracts: q.names(), service: q.service})
		}
		return append(all, a.lostQueues()...)
	})
}

// lostQueues returns the queues of messages whose work queue was gone when their retry was due.
func (a *App) lostQueues() []shownQueue {
	var all []shownQueue
	for _, q := range a.deadLetterQueues() {
		lost := shownQueue{name: a.names().RetryLost(q.service), kind: kindLost, service: q.service}
		if !slices.ContainsFunc(all, func(other shownQueue) bool { return other.name == lost.name }) {
			all = append(all, lost)
		}
	}
	return all
}

// letters connects, and returns the broker's dead letters.
func (a *App) letters(ctx context.Context, command string) (*leveret.Conn, *deadletter.Store, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	letters := deadletter.New(conn)
	letters.Reader, letters.Consumer, letters.Contract = a.Name+" "+command, a.consumers(), a.contractOfLetter()
	return conn, letters, nil
}

// source returns the dead letters of the queue that a person named.
func (a *App) source(letters *deadletter.Store, name string) deadletter.Source {
	for _, lost := range a.lostQueues() {
		if name == lost.name {
			return letters.RetryLost(lost.service)
		}
	}
	queue, theirs := a.failingQueue(name), a.theirDeadLetters()
	for _, q := range a.deadLetterQueues() {
		switch of := theirs[q.deadLetters]; {
		case !q.theirs || q.name != queue && q.deadLetters != name:
		case len(of) > 1:
			return letters.Rejected(q.deadLetters, "", q.service)
		default:
			return letters.Rejected(q.deadLetters, q.name, q.service)
		}
	}
	return letters.DeadLetters(queue)
}

// only returns the work queue that a person named, if its dead letters are in a queue of somebody else's, where others
// may be, too; "" in all other cases.
func (a *App) only(name string) string {
	queue, found := a.failingQueue(name), ""
	for _, q := range a.deadLetterQueues() {
		switch {
		case q.theirs && q.deadLetters == name && q.name != name:
			return "" // that queue itself
		case q.theirs && q.name == queue:
			found = queue
		}
	}
	return found
}

// sources returns the sources of dead letters that are read: that of the queue that a person named, or all.
func (a *App) sources(letters *deadletter.Store, queue string) []deadletter.Source {
	if queue != "" {
		return []deadletter.Source{a.source(letters, queue)}
	}
	var all []deadletter.Source
	seen := map[string]bool{} // of somebody else's, several work queues may have one
	for _, q := range a.deadLetterQueues() {
		if !seen[q.deadLetters] {
			seen[q.deadLetters] = true
			all = append(all, a.source(letters, q.name))
		}
	}
	for _, q := range a.lostQueues() {
		all = append(all, a.source(letters, q.name))
	}
	return all
}

// nameOf is how a person names a source.
func nameOf(from deadletter.Source) string { return cmp.Or(from.Queue, from.Name) }

// warnOfReaders warns if another command reads a source, which is why messages are missing.
func (a *App) warnOfReaders(ctx context.Context, letters *deadletter.Store, from deadletter.Source) {
	n, err := letters.Readers(ctx, from)
	if err != nil || n == 0 {
		return
	}
	who := "another program"
	if tags := a.consumersOf(ctx, from.Name); len(tags) > 0 {
		who = strings.Join(tags, ", ")
	}
	what := "the dead letters of " + from.Queue
	if from.Queue == "" {
		what = from.Name
	}
	a.Warn("%s reads %s; the messages that it holds are missing here until it ends", who, what)
}

// consumersOf returns the names of a queue's consumers, if the management API is there to ask.
func (a *App) consumersOf(ctx context.Context, queue string) []string {
	api, err := a.management()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var found struct {
		Consumers []struct {
			Tag string `json:"consumer_tag"`
		} `json:"consumer_details"`
	}
	if api.Call(ctx, http.MethodGet, nil, &found, "queues", a.settings.vhost(), queue) != nil {
		return nil
	}
	var all []string
	for _, c := range found.Consumers {
		name, _, _ := strings.Cut(c.Tag, "#")
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// failingQueue returns the work queue that a person named: by its own name, by the name of its dead-letter queue, or
// without the namespace. It need not be in the catalog.
func (a *App) failingQueue(name string) string {
	known := a.deadLetterQueues()
	for _, candidate := range []string{name, deadletter.WorkQueue(name), a.names().ContractQueue(deadletter.WorkQueue(name))} {
		if slices.ContainsFunc(known, func(q workQueue) bool { return q.name == candidate }) {
			return candidate
		}
	}
	return deadletter.WorkQueue(name)
}

// consumers returns which service of the catalog consumes a work queue; "" for other queues.
func (a *App) consumers() func(queue string) string {
	all := map[string]string{}
	for _, q := range a.deadLetterQueues() {
		all[q.name] = q.service
	}
	return func(queue string) string { return all[queue] }
}

// contractOfLetter returns what names the contract of a message that failed: by its queue, or, of queues that the catalog
// does not have, by its type.
func (a *App) contractOfLetter() func(queue string, d *rabbit.Delivery) string {
	all := map[string]workQueue{}
	for _, q := range a.deadLetterQueues() {
		all[q.name] = q
	}
	return func(queue string, d *rabbit.Delivery) string {
		if q, ok := all[queue]; ok {
			return q.contractOf(d)
		}
		return d.Type
	}
}

// consumer returns the service that consumes a work queue: the catalog's, or what the queue's name begins with.
func (a *App) consumer(queue string) string {
	return cmp.Or(a.consumers()(queue), a.names().Consumer(queue))
}

// failing returns the queues whose messages can fail for good, as a person names them.
func (a *App) failing() []shownQueue {
	all := a.lostQueues()
	for _, q := range a.deadLetterQueues() {
		all = append(all, shownQueue{name: q.name, service: q.service})
	}
	return all
}

// explainLetters adds to an error of a dead-letter queue what to do about it.
func (a *App) explainLetters(from deadletter.Source, err error) error {
	queue := nameOf(from)
	switch {
	case errors.Is(err, deadletter.ErrHeldTooLong):
		return Fail(ExitError, "raise consumer_timeout in rabbitmq.conf", "%w", err)
	case errors.Is(err, deadletter.ErrNoQueue) && from.Theirs:
		return Fail(ExitNotFound, "its owner declares it, or the Topology of the address does", "%w", err)
	case errors.Is(err, deadletter.ErrNoQueue) && from.Queue == "":
		return Fail(ExitNotFound, "start a service once; it declares its queues", "%w", err)
	case errors.Is(err, deadletter.ErrNoQueue):
		all := a.workQueues()
		i := slices.IndexFunc(all, func(q workQueue) bool { return q.name == queue })
		switch {
		case i >= 0 && all[i].kind == leveret.KindRequest:
			return Fail(ExitNotFound, a.Name+" dlq ls", "%s is a request queue, which has no dead letters: the caller gets the error", queue)
		case i >= 0:
			return Fail(ExitNotFound, "start the service once; it declares its queues", "%s has no dead-letter queue yet: %w", queue, err)
		}
		return a.noQueue(queue, a.failing())
	default:
		return a.reading(err)
	}
}
