package conformance

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func waitsUntil(ctx context.Context, s *session) verdict {
	later := time.Now().UTC().Add(time.Hour)
	for _, value := range []any{later.Format(time.RFC3339Nano), later} {
		c, err := s.ask(ctx, doSucceed, with(usual(s.id()), amqp.Table{"leveret-not-before": value, "leveret-attempt": int64(2)}))
		if err != nil {
			return untested("%v", err)
		}
		copied, v := c.retried(ctx)
		if v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a message that is for an hour from now, as %T: %s", value, v.why)}
		}
		if got := copied.message.Headers["leveret-attempt"]; got != int64(2) {
			return broken("the copy of what came too early has leveret-attempt %#v, not 2 as before", got)
		}
		if !sameTime(copied.message.Headers["leveret-not-before"], later) {
			return broken("the copy of what came too early has leveret-not-before %#v, not %s as before",
				copied.message.Headers["leveret-not-before"], later.Format(time.RFC3339))
		}
		if v := s.marker(ctx); v.state != Kept {
			return v
		}
		if c.effects() > 0 {
			return broken("it worked on a message that is for an hour from now")
		}
	}
	return kept()
}

func sameTime(value any, want time.Time) bool {
	switch v := value.(type) {
	case time.Time:
		return v.Unix() == want.Unix()
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		return err == nil && t.Unix() == want.Unix()
	default:
		return false
	}
}

// marker has a message handled: what the client said before it, the kit has read by then.
func (s *session) marker(ctx context.Context) verdict {
	id := s.id()
	v := s.takes(ctx, id, succeed(id), usual(id))
	if v.state != Kept {
		v.why = "of the message that came next: " + v.why
	}
	return v
}

func duplicates(ctx context.Context, s *session) verdict {
	id := s.id()
	first, err := s.send(ctx, id, []byte(succeed(id)), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	if v := first.handled(ctx); v.state != Kept {
		return v
	}
	second, err := s.send(ctx, id, []byte(succeed(id)), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	e, err := second.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	if e.what != acked || len(second.copies()) > 0 {
		return broken("of the second: %s", second.ending(e))
	}
	if v := s.marker(ctx); v.state != Kept {
		return v
	}
	if n := first.effects(); n > 1 {
		return broken("the work was done %d times", n)
	}
	return kept()
}

func reconnects(ctx context.Context, s *session) verdict {
	c, err := s.sendWait(ctx, workTakes)
	if err != nil {
		return untested("%v", err)
	}
	if _, err := s.await(ctx, c.from, func(event) bool { return len(c.deliveries()) > 0 }); err != nil {
		return broken("it does not take the next message: %v", err)
	}
	from := s.trace.now()
	s.proxy.cut()
	if _, err := s.await(ctx, from, func(e event) bool { return e.what == consuming }); err != nil {
		return broken("it does not consume again: %v", err)
	}
	if _, err := c.settled(ctx); err != nil {
		return broken("what it had when the connection was lost: %v", err)
	}
	if v := s.marker(ctx); v.state != Kept {
		return v
	}
	for _, e := range s.trace.since(from) {
		if e.what == closed {
			return broken("after the connection was lost, the broker says: %s", e.text)
		}
	}
	return kept()
}
