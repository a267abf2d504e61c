package conformance

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/topology"
)

// Subscription is the queue of a listener, which declares it.
const Subscription = "conformance-listener.on." + Happened

// ownListenerRules are those that say how a listener declares its queue. The others are a worker's.
func ownListenerRules() []Rule {
	return []Rule{
		{
			ID: "L1", Link: "where-it-travels", early: true, check: declaresExactly,
			Text: "It must declare what exists exactly as this page says: anything else is refused with 406.",
		},
		{
			ID: "L2", Link: "listening-to-an-event", needs: []string{"L1"}, early: true, check: manualAcks,
			Text: "It must consume a queue of its own, `SERVICE.on.EVENT`, with manual acks: what is acked on delivery is lost with the worker.",
		},
		{
			ID: "L3", Link: "being-a-worker", needs: []string{"L2"}, check: boundPrefetch,
			Text: "It must set a prefetch count before it consumes: without one it is sent the whole queue.",
		},
		{
			ID: "L4", Link: "where-it-travels", needs: []string{"L2"}, check: declaresQueues,
			Text: "It must declare its queue, durable and with the arguments of this page, and the queue of its dead letters, which has the same " +
				"name and `.dlq`: other members of its service could not declare them any more.",
		},
		{
			ID: "L5", Link: "listening-to-an-event", needs: []string{"L2"}, check: boundToEvents,
			Text: "It must bind its queue to `events` under the event's name.",
		},
		{
			ID: "L6", Link: "being-a-worker", needs: []string{"L2"}, check: boundToReturn,
			Text: "It must bind its queue to `retry.return` under the queue's own name: what is to be tried again would not come back.",
		},
		{
			ID: "L7", Link: "being-a-worker", needs: []string{"L4", "L5"}, check: boundToDeadLetters,
			Text: "It must bind the queue of its dead letters to `dead-letters` under the name of its queue: the broker would drop what it rejects.",
		},
	}
}

// ownWorkerRules is how many rules of a worker are about its queue. A listener has its own in their place.
const ownWorkerRules = 3

var workerRule = regexp.MustCompile(`\bW(\d+)\b`)

func listenerRules() []Rule {
	rules := ownListenerRules()
	own := len(rules)
	asListener := func(text string) string {
		return workerRule.ReplaceAllStringFunc(text, func(id string) string {
			n, _ := strconv.Atoi(id[1:]) // it is digits
			if n <= ownWorkerRules {
				return "L" + id[1:]
			}
			return fmt.Sprintf("L%d", n-ownWorkerRules+own)
		})
	}
	for _, r := range workerRules()[ownWorkerRules:] {
		further := "L5"
		if r.deadLetters {
			further = "L7"
		}
		r.ID, r.Text, r.needs = asListener(r.ID), asListener(r.Text), slices.Clone(r.needs)
		for i, need := range r.needs {
			r.needs[i] = asListener(need)
		}
		r.needs = append(r.needs, further)
		rules = append(rules, r)
	}
	return rules
}

// listenerTopology is what a listener finds: everything but its own queues.
func listenerTopology() topology.Topology {
	t := names.Failing(service, Subscription)
	t.Queues = nil
	t.Bindings = nil
	t.Exchanges = append(t.Exchanges, events)
	tiers := withTiers(topology.Topology{})
	lost := names.RetryLost(service)
	for i, b := range tiers.Bindings {
		// What is put into a tier stays, to be in nobody's way: in retry.lost, to which retry.return leads nothing, so that the
		// kit is returned what has no other queue.
		if b.Exchange != lost {
			tiers.Bindings[i].Queue = lost
		}
	}
	tiers.Bindings = slices.DeleteFunc(tiers.Bindings, func(b topology.Binding) bool { return b.Exchange == lost })
	tiers.Queues = slices.DeleteFunc(tiers.Queues, func(q topology.Queue) bool { return q.Name != lost })
	t.Add(tiers)
	return t
}

func declaresQueues(_ context.Context, s *session) verdict {
	for _, q := range names.Work(service, events, Happened, Subscription).Queues {
		if q.Name != Subscription && q.Name != names.DeadLetterQueue(Subscription) {
			continue
		}
		err := s.apart(func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(q.Name, true, false, false, false, nil)
			return err
		})
		if err != nil {
			return broken("the queue %s is not there: %v", q.Name, err)
		}
		err = s.apart(func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(q.Name, true, false, false, false, q.Args)
			return err
		})
		if err != nil {
			return broken("the queue %s is not as it should be: %v", q.Name, err)
		}
	}
	return kept()
}

// apart calls f with a channel of its own, which the broker may close.
func (s *session) apart(f func(*amqp.Channel) error) error {
	ch, err := s.admin.Channel()
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }() // an error means that the broker has closed it
	return f(ch)
}

// routed publishes a message mandatory, and reports whether it was not returned.
func (s *session) routed(ctx context.Context, exchange, key string, p amqp.Publishing) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	err = s.apart(func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		returns := ch.NotifyReturn(make(chan amqp.Return, 1))
		confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, p)
		if err != nil {
			return err
		}
		if _, err := confirm.WaitContext(ctx); err != nil {
			return err
		}
		ok = len(returns) == 0 // what is returned is returned before it is confirmed
		return nil
	})
	return ok, err
}

// comes publishes a message to an exchange, and judges that the client handles it.
func (s *session) comes(ctx context.Context, exchange, key string) verdict {
	id := s.id()
	c := &course{s: s, id: id, body: []byte(succeed(id)), from: s.trace.now()}
	p := usual(id)
	p.Body = c.body
	ok, err := s.routed(ctx, exchange, key, p)
	switch {
	case err != nil:
		return untested("the kit cannot publish: %v", err)
	case !ok:
		return broken("no queue is bound to %s under %s", exchange, key)
	}
	if _, err := s.await(ctx, c.from, func(event) bool { return len(c.deliveries()) > 0 }); err != nil {
		return broken("what is published to %s under %s does not come to it: %v", exchange, key, err)
	}
	return kept()
}

func boundToEvents(ctx context.Context, s *session) verdict {
	return s.comes(ctx, events.Name, Happened)
}

func boundToReturn(ctx context.Context, s *session) verdict {
	return s.comes(ctx, names.RetryReturnExchange(service), Subscription)
}

func boundToDeadLetters(ctx context.Context, s *session) verdict {
	queue, id := names.DeadLetterQueue(Subscription), s.id()
	p := usual(id)
	p.Body = []byte(id)
	ok, err := s.routed(ctx, names.DeadLetterExchange(service), Subscription, p)
	switch {
	case err != nil:
		return untested("the kit cannot publish: %v", err)
	case !ok:
		return broken("no queue is bound to %s under %s", names.DeadLetterExchange(service), Subscription)
	}
	found := false
	err = s.apart(func(ch *amqp.Channel) error {
		for {
			d, ok, err := ch.Get(queue, true)
			if err != nil || !ok {
				return err
			}
			if found = found || string(d.Body) == id; found {
				return nil
			}
		}
	})
	switch {
	case err != nil:
		return untested("the kit cannot read %s: %v", queue, err)
	case !found:
		return broken("a dead letter does not come to %s", queue)
	}
	return kept()
}
