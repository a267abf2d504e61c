package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A keptTarget is the subscription to which kept events are copied.
type keptTarget struct {
	event                 leveret.Contract
	service, subscription string
	queue                 string
	remembers             time.Duration // what the service recognises; 0 if it does not say
}

// keptTarget finds the subscription of a service to an event. A service that the catalog does not have may have one: then
// its queue exists.
func (a *App) keptTarget(event leveret.Contract, service, subscription string) (keptTarget, error) {
	spec := event.Spec()
	t := keptTarget{event: event, service: service, subscription: subscription, queue: leveret.QueueName(a.names(), event, service, subscription)}
	if subscription == topology.PerProcess {
		return t, usage("", "the queue of a process goes with it: there is nothing to catch up")
	}
	services := a.Catalog.Services()
	i := slices.IndexFunc(services, func(s *leveret.Service) bool { return s.Name() == service })
	if i < 0 {
		return t, nil
	}
	t.remembers = services[i].Remembers()
	var others []string
	for _, q := range services[i].WorkQueues(a.names()) {
		switch {
		case q.Contract != event || q.Exclusive:
		case q.Subscription == subscription:
			return t, nil
		default:
			others = append(others, q.Subscription)
		}
	}
	switch {
	case len(others) > 0 && subscription == "":
		return t, usage("", "%s subscribes to %s under a name: --as %s", service, spec.Name, strings.Join(others, ", or --as "))
	case len(others) > 0:
		return t, Fail(ExitNotFound, a.Name+" events ls", "%s has no subscription %q to %s%s", service, subscription, spec.Name,
			schema.DidYouMean(subscription, others))
	case slices.Contains(a.Catalog.ServicesWith(event, leveret.RoleReads), services[i]):
		return t, usage(fmt.Sprintf("projection rebuild NAME, of the own binary of %s", service),
			"rebuild: %s reads %s with a projection, and has no queue to copy to; its own binary empties the projection, and reads the stream again",
			service, spec.Name)
	default:
		return t, Fail(ExitNotFound, a.Name+" events ls", "%s does not subscribe to %s; these do: %s", service, spec.Name, list(a.subscribers(event)))
	}
}

// noSubscription is the error of a queue that does not exist.
func (a *App) noSubscription(t keptTarget) error {
	next := fmt.Sprintf("start %s once; it declares its queue", t.service)
	if known := names(a.Catalog.Services()); !slices.Contains(known, t.service) {
		return Fail(ExitNotFound, next, "there is no queue %s, and the catalog has no service %q%s", t.queue, t.service, schema.DidYouMean(t.service, known))
	}
	return Fail(ExitNotFound, next, "the queue %s does not exist yet", t.queue)
}

// catchesUp says what a replay does, or why it must not.
func (t keptTarget) catchesUp(newSubscriber bool) (string, error) {
	switch {
	case newSubscriber:
		return fmt.Sprintf("catch up: the subscription is new, so %s has handled none of these events", t.service), nil
	case t.remembers == 0:
		return "", usage("declare leveret.Remembers for it; or, if it has handled none of these events yet, say so with --new-subscriber",
			"%s does not say how long it recognises what it has handled: it might handle copies again", t.service)
	case t.remembers == leveret.Forever:
		return fmt.Sprintf("catch up: %s recognises what it has handled already, however old it is", t.service), nil
	default:
		return fmt.Sprintf("catch up: %s recognises what it has handled within the last %s", t.service, short(t.remembers)), nil
	}
}

// forgotten is the error of an event that is older than what the service recognises, or that does not say how old it is.
func (t keptTarget) forgotten(offset int64, sent time.Time) error {
	const next = "begin later; or, if the service has handled none of these events yet, say so with --new-subscriber"
	switch {
	case t.remembers == leveret.Forever || !sent.IsZero() && time.Since(sent) < t.remembers:
		return nil
	case sent.IsZero():
		return usage(next, "the event at offset %d does not say when it was sent, and %s recognises what it has handled for %s only",
			offset, t.service, short(t.remembers))
	default:
		return usage(next, "the event at offset %d was sent at %s, and %s recognises what it has handled for %s only",
			offset, sent.UTC().Format(time.RFC3339), t.service, short(t.remembers))
	}
}
