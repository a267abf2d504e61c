package conformance

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/leveret"
)

func givesUp(ctx context.Context, s *session) verdict {
	for _, attempt := range []int64{attempts, attempts + 1, 1_000_000} {
		c, err := s.ask(ctx, doFailNow, with(usual(s.id()), amqp.Table{"leveret-attempt": attempt}))
		if err != nil {
			return untested("%v", err)
		}
		if v := c.deadLettered(ctx); v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of attempt %d, which fails for now: %s", attempt, v.why)}
		}
	}
	return kept()
}

func deadLettersAtOnce(ctx context.Context, s *session) verdict {
	c, err := s.ask(ctx, doFail, usual(s.id()))
	if err != nil {
		return untested("%v", err)
	}
	return c.deadLettered(ctx)
}

// deadLetter sends a message that fails for good, and returns the copy that the client publishes, if it does.
func (s *session) deadLetter(ctx context.Context, p amqp.Publishing) (copied *event, v verdict) {
	c, err := s.ask(ctx, doFail, p)
	if err != nil {
		return nil, untested("%v", err)
	}
	if v := c.deadLettered(ctx); v.state != Kept {
		return nil, v
	}
	if all := c.copies(); len(all) > 0 {
		return &all[0], kept()
	}
	return nil, kept()
}

func sureDeadLetters(ctx context.Context, s *session) verdict {
	transient := usual(s.id())
	transient.DeliveryMode = amqp.Transient
	copied, v := s.deadLetter(ctx, transient)
	if v.state != Kept || copied == nil {
		return v
	}
	switch m := copied.message; {
	case m.key != s.role.queue:
		return broken("its copy has the routing key %q, not %q", m.key, s.role.queue)
	case !m.mandatory:
		return broken("its copy is not mandatory")
	case m.DeliveryMode != amqp.Persistent:
		return broken("its copy has delivery_mode %d, not 2", m.DeliveryMode)
	case copied.tag == 0:
		return broken("its channel has no confirms")
	}
	return s.failedCopy(ctx, doFail, refuses, "was nacked by the broker")
}

func explainsDeadLetters(ctx context.Context, s *session) verdict {
	copied, v := s.deadLetter(ctx, with(usual(s.id()), amqp.Table{"leveret-attempt": int64(3)}))
	switch {
	case v.state != Kept:
		return v
	case copied == nil:
		return untested("it rejects: the broker makes the dead letter")
	}
	h := copied.message.Headers
	if h["leveret-failed-queue"] != s.role.queue {
		return broken("leveret-failed-queue is %#v, not %q", h["leveret-failed-queue"], s.role.queue)
	}
	if h["leveret-attempts"] != int64(3) {
		return broken("leveret-attempts is %#v, not 3, as leveret-attempt was", h["leveret-attempts"])
	}
	if text, _ := h["leveret-error-code"].(string); !isCode(text) {
		return broken("leveret-error-code is %#v, which is none of the codes", h["leveret-error-code"])
	}
	if !isTime(h["leveret-failed-at"]) {
		return broken("leveret-failed-at is %#v, not a time of RFC 3339 in UTC", h["leveret-failed-at"])
	}
	for _, name := range []string{"leveret-error-message", "leveret-service", "leveret-host"} {
		if text, _ := h[name].(string); text == "" {
			return broken("%s is %#v, not a text", name, h[name])
		}
	}
	return kept()
}

// isCode reports whether a text is one of the codes, as they are written.
func isCode(text string) bool {
	var code leveret.Code
	return code.UnmarshalText([]byte(text)) == nil && code.String() == text
}

func isTime(value any) bool {
	if _, ok := value.(time.Time); ok {
		return true
	}
	text, _ := value.(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	_, offset := t.Zone()
	return err == nil && offset == 0
}
