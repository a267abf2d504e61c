package conformance

import (
	"context"
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

func TestListenerThatKeepsTheRules(t *testing.T) {
	t.Parallel()
	for _, r := range judge(t, Listener, "", listenerPeer("")) {
		require.Equal(t, Kept, r.State, "%+v", r)
	}
}

func TestListenersThatBreakOneRule(t *testing.T) {
	t.Parallel()
	wrong := []string{"L4: arguments", "L16: routing key"}
	for _, r := range Rules(Listener) {
		wrong = append(wrong, r.ID)
	}
	for _, w := range wrong {
		t.Run(w, func(t *testing.T) {
			t.Parallel()
			rule, _, _ := strings.Cut(w, ":")
			requireBroken(t, Listener, rule, judge(t, Listener, w, listenerPeer(w)))
		})
	}
}

// listenerPeer is a worker with a queue of its own.
func listenerPeer(wrong string) Client {
	var n int
	if _, err := fmt.Sscanf(wrong, "L%d", &n); err == nil { // what is wrong with it as a worker
		_, how, found := strings.Cut(wrong, ":")
		switch own := len(ownListenerRules()); {
		case n <= ownWorkerRules:
			wrong = fmt.Sprintf("W%d", n)
		case n > own:
			wrong = fmt.Sprintf("W%d", n-own+ownWorkerRules)
		}
		if found {
			wrong, _, _ = strings.Cut(wrong, ":")
			wrong += ":" + how
		}
	}
	return func(ctx context.Context, s Streams) error {
		p := &peer{wrong: wrong, queue: Subscription, seen: make(map[string]bool), out: s.Out}
		return again(ctx, s.URL, p.is("W28"), func(ctx context.Context, conn *amqp.Connection) error {
			if err := p.subscribe(conn); err != nil {
				return err
			}
			return p.work(ctx, conn)
		})
	}
}

// subscribe declares the queue of a subscription.
func (p *peer) subscribe(conn *amqp.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	dead := Subscription + ".dlq"
	work := amqp.Table{
		"x-queue-type": "quorum", "x-delivery-limit": 1000, "x-overflow": "reject-publish", "x-dead-letter-exchange": "dead-letters",
		"x-dead-letter-routing-key": Subscription, "x-dead-letter-strategy": "at-least-once",
	}
	if p.is("L4: arguments") {
		delete(work, "x-dead-letter-routing-key")
	}
	if _, err := ch.QueueDeclare(Subscription, true, false, false, false, work); err != nil {
		return err
	}
	if !p.is("L4") {
		kept := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": 1000000, "x-overflow": "reject-publish"}
		if _, err := ch.QueueDeclare(dead, true, false, false, false, kept); err != nil {
			return err
		}
	}
	for _, b := range []struct{ wrong, queue, exchange, key string }{
		{"L5", Subscription, "events", Happened},
		{"L6", Subscription, "retry.return", Subscription},
		{"L7", dead, "dead-letters", Subscription},
	} {
		if p.is(b.wrong) || b.queue == dead && p.is("L4") {
			continue
		}
		if err := ch.QueueBind(b.queue, b.key, b.exchange, false, nil); err != nil {
			return err
		}
	}
	return nil
}
