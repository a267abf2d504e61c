package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// retry sends a message that fails for now, and returns the copy.
func (s *session) retry(ctx context.Context, p amqp.Publishing) (event, verdict) {
	c, err := s.ask(ctx, doFailNow, p)
	if err != nil {
		return event{}, untested("%v", err)
	}
	return c.retried(ctx)
}

func retries(ctx context.Context, s *session) verdict {
	copied, v := s.retry(ctx, usual(s.id()))
	if v.state == Kept && copied.message.key != s.role.queue {
		return broken("its copy has the routing key %q, not %q", copied.message.key, s.role.queue)
	}
	return v
}

func countsAttempts(ctx context.Context, s *session) verdict {
	for _, had := range []int64{0, 1, 3} {
		p := usual(s.id())
		if had > 0 {
			p = with(p, amqp.Table{"leveret-attempt": had})
		}
		copied, v := s.retry(ctx, p)
		if v.state != Kept {
			return v
		}
		if got, want := copied.message.Headers["leveret-attempt"], max(had, 1)+1; got != want {
			return broken("the copy of a message of attempt %d has leveret-attempt %#v, not %d", max(had, 1), got, want)
		}
	}
	return kept()
}

func readsNumbers(ctx context.Context, s *session) verdict {
	for _, four := range []any{"4", int8(4), uint8(4), int16(4), uint16(4), int32(4), uint32(4), int64(4)} {
		copied, v := s.retry(ctx, with(usual(s.id()), amqp.Table{"leveret-attempt": four}))
		if v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of leveret-attempt as %T: %s", four, v.why)}
		}
		if got := copied.message.Headers["leveret-attempt"]; got != int64(5) {
			return broken("the copy of a message of attempt 4, written as %T, has leveret-attempt %#v, not 5", four, got)
		}
	}
	return kept()
}

func mandatoryCopies(ctx context.Context, s *session) verdict {
	copied, v := s.retry(ctx, usual(s.id()))
	if v.state != Kept {
		return v
	}
	if !copied.message.mandatory {
		return broken("its copy is not mandatory")
	}
	return s.failedCopy(ctx, doFailNow, strays, "came back")
}

func confirmedCopies(ctx context.Context, s *session) verdict {
	copied, v := s.retry(ctx, usual(s.id()))
	switch {
	case v.state != Kept:
		return v
	case copied.tag == 0:
		return broken("its channel has no confirms")
	}
	return s.failedCopy(ctx, doFailNow, refuses, "was nacked by the broker")
}

// failedCopy lets the first copy of a message fail, and judges that the message is not acked because of it.
func (s *session) failedCopy(ctx context.Context, do string, how fate, failed string) verdict {
	id := s.id()
	failing := true
	s.proxy.decide(func(m *message) fate {
		if failing && bytes.Contains(m.body, []byte(id)) {
			failing = false
			return how
		}
		return passes
	})
	defer s.proxy.decide(nil)
	c, err := s.send(ctx, id, asking(id, do), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	e, err := s.await(ctx, c.from, func(e event) bool { return c.settles(e) || e.what == lost || e.what == closed })
	switch {
	case errors.Is(err, errEnded), err != nil && ctx.Err() == nil && len(c.copies()) > 0:
		return kept() // it keeps the message, or leaves it to the next
	case err != nil:
		return broken("%v", err)
	}
	if copies := c.copies(); e.what == acked && len(copies) < 2 {
		return broken("its copy %s, and it acked the message", failed)
	}
	return kept()
}

func persistentCopies(ctx context.Context, s *session) verdict {
	transient := usual(s.id())
	transient.DeliveryMode = amqp.Transient
	for _, p := range []amqp.Publishing{usual(s.id()), transient, {}} {
		copied, v := s.retry(ctx, p)
		if v.state != Kept {
			return v
		}
		if copied.message.DeliveryMode != amqp.Persistent {
			return broken("the copy of a message of delivery_mode %d has delivery_mode %d, not 2", p.DeliveryMode, copied.message.DeliveryMode)
		}
	}
	return kept()
}

func keepsBody(ctx context.Context, s *session) verdict {
	id := s.id()
	body := fmt.Sprintf("\ufeff {\"do\" : \"fail_temporarily\",\t\"big\": 9007199254740993, \"n\": 1.50, \"text\": \"\\u00e9é/\\/\",\r\n \"id\":%q } \n", id)
	c, err := s.send(ctx, id, []byte(body), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	copied, v := c.retried(ctx)
	if v.state == Kept && string(copied.message.body) != body {
		return broken("the body %q became %q", body, copied.message.body)
	}
	return v
}

func keepsProperties(ctx context.Context, s *session) verdict {
	id := s.id()
	p := usual(id)
	p.CorrelationId, p.Type, p.ContentType, p.ContentEncoding = "correlation-of-"+id, "their.type", "text/json", "identity"
	p.AppId, p.Priority, p.Timestamp = "their-app", 3, time.Unix(1_700_000_000, 0)
	copied, v := s.retry(ctx, p)
	if v.state != Kept {
		return v
	}
	got := copied.message.properties
	for _, one := range []struct {
		name      string
		got, want any
	}{
		{"message_id", got.MessageID, p.MessageId},
		{"correlation_id", got.CorrelationID, p.CorrelationId},
		{"type", got.Type, p.Type},
		{"content_type", got.ContentType, p.ContentType},
		{"content_encoding", got.ContentEncoding, p.ContentEncoding},
		{"timestamp", got.Timestamp, p.Timestamp.Unix()},
		{"app_id", got.AppID, p.AppId},
		{"priority", got.Priority, p.Priority},
	} {
		if one.got != one.want {
			return broken("in its copy, %s is %#v, not %#v", one.name, one.got, one.want)
		}
	}
	return kept()
}

func keepsHeaders(ctx context.Context, s *session) verdict {
	want := map[string]any{
		"traceparent":             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"leveret-conversation-id": "the-conversation",
		"leveret-causation-id":    "the-cause",
		"leveret-sent-at":         "2026-01-02T03:04:05.000000006Z",
		"tenant":                  "theirs",
		"x-request-id":            "theirs as well",
		"count":                   int64(7),
		"sure":                    true,
		"list":                    []any{"a", int64(2)},
		"table":                   map[string]any{"deep": "er"},
	}
	sent := amqp.Table{}
	maps.Copy(sent, want)
	sent["table"] = amqp.Table{"deep": "er"}
	copied, v := s.retry(ctx, with(usual(s.id()), sent))
	if v.state != Kept {
		return v
	}
	for name, value := range want {
		if got := copied.message.Headers[name]; !reflect.DeepEqual(got, value) {
			return broken("in its copy, the header %s is %#v, not %#v", name, got, value)
		}
	}
	return kept()
}

func dropsHeaders(ctx context.Context, s *session) verdict {
	p := with(usual(s.id()), amqp.Table{
		"CC": []any{"conformance.elsewhere"}, "x-death": []any{amqp.Table{"count": int64(1), "queue": "q", "reason": "expired"}},
		"x-first-death-queue": "q", "x-first-death-reason": "expired", "x-first-death-exchange": "e",
		"x-last-death-queue": "q", "x-last-death-reason": "expired", "x-last-death-exchange": "e",
		"x-acquired-count": int64(1), "x-delivery-count": int64(1), "x-stream-offset": int64(1),
	})
	p.Expiration, p.UserId = "3600000", s.login.Username()
	copied, v := s.retry(ctx, p)
	if v.state != Kept {
		return v
	}
	for name := range copied.message.Headers {
		if brokersHeader(name) {
			return broken("its copy has the header %s", name)
		}
	}
	switch got := copied.message; {
	case got.Expiration != "":
		return broken("its copy has the expiration %q", got.Expiration)
	case got.UserID != "":
		return broken("its copy has the user_id %q", got.UserID)
	}
	return kept()
}
