package definitions_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
)

// person is somebody with a user of the definitions, who tries what the user may.
type person struct {
	t       *testing.T
	name    string // of the user
	service *leveret.Service
	needs   needs
	conn    *amqp.Connection
	queues  []string // those that it has made: of its process
	mine    []string // names that it may give to anything
	attempts,
	refusals int

	ch        *amqp.Channel // nil after a refusal
	closed    chan *amqp.Error
	confirmed bool
}

// people connects everybody, and makes the queues of their processes.
func (s *system) people() []*person {
	s.t.Helper()
	var all []*person
	for _, service := range append(s.catalog.Services(), nil) {
		p := &person{t: s.t, name: operatorUser, service: service, needs: s.needsOf(service)}
		own := operator.Name
		if service != nil {
			p.name, own = service.Name(), service.Name()
		}
		p.conn = dial(s.t, s.as(p.name))
		for queue, mine := range map[string]string{
			s.names.ReplyQueue(own, live): s.names.ReplyQueue(own, "mine"), s.names.ControlQueue(own, live): s.names.ControlQueue(own, "mine"),
		} {
			if p.may(declareQueue(queue, true, nil)) {
				p.queues, p.mine = append(p.queues, queue), append(p.mine, mine)
			}
		}
		all = append(all, p)
	}
	return all
}

// bindLive binds the queues of the processes as the services do.
func (s *system) bindLive(all []*person) {
	s.t.Helper()
	for _, p := range all {
		for _, queue := range p.queues {
			for exchange, keys := range s.liveKeys(p, queue) {
				for _, key := range keys {
					require.True(s.t, p.may(func(ch *amqp.Channel) error { return ch.QueueBind(queue, key, exchange, false, nil) }), "%s %s %s", queue, exchange, key)
				}
			}
		}
	}
}

// liveKeys returns what the queue of a person's process is bound to, by exchange.
func (s *system) liveKeys(p *person, queue string) map[string][]string {
	n, keys := s.names, map[string][]string{}
	if p.service != nil && queue == n.ControlQueue(p.name, live) {
		for _, c := range p.service.Contracts(leveret.RoleAnswers) {
			keys[n.ControlExchange(p.name)] = append(keys[n.ControlExchange(p.name)], n.CancelKey(c.Spec().Name))
		}
		keys[n.OperatorExchange(p.name)] = []string{n.RoutingKey("report." + p.name)}
		return keys
	}
	for _, other := range s.catalog.Services() {
		from := n.ReplyExchange(other.Name())
		if p.service == nil {
			from = n.OperatorExchange(other.Name())
		}
		if p.needs.listen[from] && from != "" {
			keys[from] = []string{queue}
		}
	}
	return keys
}

// everybody does something as each person, at once.
func everybody(all []*person, do func(*person)) {
	var done sync.WaitGroup
	for _, p := range all {
		done.Go(func() { do(p) })
	}
	done.Wait()
}

// may tries something, and reports whether the broker let it happen. A refusal is 403, or 405 for the exclusive queue
// of another connection; anything else that goes wrong but a condition that is not met (406) fails the test.
func (p *person) may(do func(*amqp.Channel) error) bool {
	p.attempts++
	if p.ch == nil {
		var err error
		if p.ch, err = p.conn.Channel(); err != nil {
			p.t.Errorf("%s: open a channel: %v", p.name, err)
			return false
		}
		p.closed, p.confirmed = p.ch.NotifyClose(make(chan *amqp.Error, 1)), false
	}
	err := do(p.ch)
	if err == nil {
		return true
	}
	p.ch = nil
	var reason *amqp.Error
	if !errors.As(err, &reason) || reason.Code == amqp.ChannelError {
		reason = <-p.closed
	}
	switch {
	case reason == nil:
		p.t.Errorf("%s: %v", p.name, err)
	case reason.Code == amqp.AccessRefused || reason.Code == amqp.ResourceLocked:
		p.refusals++
		return false
	case reason.Code == amqp.PreconditionFailed:
		return true
	default:
		p.t.Errorf("%s: %v", p.name, reason)
	}
	return false
}

var errNoAnswer = errors.New("the broker does not answer")

// publish publishes a message that says by whom and by which way, and waits for the broker's word.
func (p *person) publish(exchange, key, way string, headers amqp.Table) bool {
	return p.may(func(ch *amqp.Channel) error {
		if !p.confirmed {
			if err := ch.Confirm(false); err != nil {
				return err
			}
			p.confirmed = true
		}
		confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{
			AppId: p.name, MessageId: way, Headers: headers, Body: []byte("1"), DeliveryMode: amqp.Persistent,
		})
		if err != nil {
			return err
		}
		select {
		case <-confirm.Done():
			if confirm.Acked() {
				return nil
			}
			return fmt.Errorf("publish: %w", <-p.closed) // which ends waiting for the confirm, too
		case reason := <-p.closed:
			return fmt.Errorf("publish: %w", reason)
		case <-time.After(patience):
			return errNoAnswer
		}
	})
}

func declareQueue(name string, exclusive bool, args amqp.Table) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, !exclusive, false, exclusive, false, args)
		return err
	}
}
