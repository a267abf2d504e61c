package conformance

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A course is what becomes of one message that the kit has sent to the client.
type course struct {
	s    *session
	id   string
	body []byte
	from int
}

// payload is that of the kit's contracts.
type payload struct {
	ID string `json:"id"`
	Do string `json:"do"`
	MS int    `json:"ms,omitempty"`
}

// What a payload asks for.
const (
	doSucceed = "succeed"
	doFail    = "fail"
	doFailNow = "fail_temporarily"
	doWait    = "wait"
)

// ask sends a message that says what to do.
func (s *session) ask(ctx context.Context, do string, p amqp.Publishing) (*course, error) {
	id := s.id()
	return s.send(ctx, id, asking(id, do), p)
}

func asking(id, do string) []byte { return fmt.Appendf(nil, `{"id":%q,"do":%q}`, id, do) }

// send sends a message with any body.
func (s *session) send(ctx context.Context, id string, body []byte, p amqp.Publishing) (*course, error) {
	c := &course{s: s, id: id, body: body, from: s.trace.now()}
	p.Body = body
	if err := s.publish(ctx, s.role.exchange, s.role.key, p); err != nil {
		return nil, err
	}
	return c, nil
}

// usual are the properties that a Leveret sender sets.
func usual(id string) amqp.Publishing {
	return amqp.Publishing{
		MessageId: "message-of-" + id, ContentType: "application/json", DeliveryMode: amqp.Persistent, Type: Work,
		Headers: amqp.Table{"leveret-conversation-id": "conversation-of-" + id},
	}
}

func with(p amqp.Publishing, headers amqp.Table) amqp.Publishing {
	all := amqp.Table{}
	maps.Copy(all, p.Headers)
	maps.Copy(all, headers)
	p.Headers = all
	return p
}

// deliveries are how the message was delivered to the client, again and again perhaps.
func (c *course) deliveries() (all []event) {
	for _, e := range c.s.trace.since(c.from) {
		if e.what == delivered && bytes.Equal(e.message.body, c.body) {
			all = append(all, e)
		}
	}
	return all
}

// tooOften is how often a message is delivered that nobody will settle: each time it costs the client its connection.
const tooOften = 20

// settled waits until the client has settled the message.
func (c *course) settled(ctx context.Context) (event, error) {
	e, err := c.s.await(ctx, c.from, func(e event) bool {
		return c.settles(e) || e.what == delivered && len(c.deliveries()) > tooOften
	})
	switch got := c.deliveries(); {
	case err == nil && e.what == delivered:
		return e, fmt.Errorf("the message was delivered %d times, and not settled", len(got))
	case err == nil:
		return e, nil
	case c.s.clientEnded():
		return e, err
	case len(got) == 0:
		return e, fmt.Errorf("it does not take the next message: %w", err)
	default:
		return e, fmt.Errorf("it neither acks nor rejects the message: %w", err)
	}
}

func (c *course) settles(e event) bool {
	return slices.ContainsFunc(c.deliveries(), e.settles)
}

// copies are what the client has published since it has the message, up to where it settled it.
func (c *course) copies() (all []event) {
	for _, e := range c.s.trace.since(c.from) {
		switch {
		case c.settles(e):
			return all
		case e.what == published && !c.isOther(string(e.message.body)):
			all = append(all, e)
		}
	}
	return all
}

// isOther reports whether a text names another message.
func (c *course) isOther(text string) bool {
	return strings.Contains(text, idPrefix) && !strings.Contains(text, c.id)
}

// effect waits until the client says that the work is done.
func (c *course) effect(ctx context.Context) error {
	_, err := c.s.await(ctx, c.from, func(e event) bool { return e.what == said && did(e.text, c.id) })
	return err
}

// effects counts how often the client has said that the work is done.
func (c *course) effects() (n int) {
	for _, e := range c.s.trace.since(c.from) {
		if e.what == said && did(e.text, c.id) {
			n++
		}
	}
	return n
}

// handled judges that the message is worked on and acked.
func (c *course) handled(ctx context.Context) verdict {
	e, err := c.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	if to := c.copies(); e.what != acked || len(to) > 0 {
		return broken("%s", c.ending(e))
	}
	if err := c.effect(ctx); err != nil {
		return broken("it acked the message, but did not say that the work is done: %v", err)
	}
	return kept()
}

// deadLettered judges that the message becomes a dead letter, without being worked on or tried again.
func (c *course) deadLettered(ctx context.Context) verdict {
	e, err := c.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	copies := c.copies()
	switch {
	case e.what != acked && !e.requeue && len(copies) == 0:
		return kept()
	case e.what == acked && len(copies) > 0 && toDeadLetters(copies[len(copies)-1]) && len(copies) == 1:
		return kept()
	default:
		return broken("%s", c.ending(e))
	}
}

// retried judges that a copy goes to a retry tier, and returns it.
func (c *course) retried(ctx context.Context) (event, verdict) {
	e, err := c.settled(ctx)
	if err != nil {
		return event{}, broken("%v", err)
	}
	copies := c.copies()
	if e.what != acked || len(copies) != 1 || !toTier(copies[0]) {
		return event{}, broken("%s", c.ending(e))
	}
	return copies[0], kept()
}

func toDeadLetters(e event) bool { return e.message.exchange == names.DeadLetterExchange(service) }

func toTier(e event) bool {
	return strings.HasPrefix(e.message.exchange, "retry.") && e.message.exchange != names.RetryReturnExchange(service) &&
		e.message.exchange != names.RetryLost(service)
}

// ending says what the client did with the message.
func (c *course) ending(e event) string {
	var did []string
	for _, p := range c.copies() {
		exchange := p.message.exchange
		if exchange == "" {
			exchange = "the default exchange"
		}
		did = append(did, fmt.Sprintf("published to %s with the routing key %q", exchange, p.message.key))
	}
	last := string(e.what)
	switch {
	case e.requeue:
		last = "gave it back to its queue"
	case e.what == acked:
		last = "acked it"
	case e.what == rejected || e.what == nacked:
		last = "rejected it"
	}
	return "it " + strings.Join(append(did, last), ", and then ")
}
