package conformance

import (
	"context"
	"fmt"
	"strings"
	"time"
)

func manualAcks(ctx context.Context, s *session) verdict {
	consumer, err := s.await(ctx, s.client.from, func(e event) bool { return e.what == consumed && e.queue == s.role.queue })
	for _, e := range s.trace.since(s.client.from) {
		switch {
		case e.what == polled:
			return broken("it polls with basic.get, which takes one message for each turn to the broker and back")
		case e.what == consumed && e.queue != s.role.queue:
			return broken("it consumes %q, not %q", e.queue, s.role.queue)
		}
	}
	if err != nil {
		return broken("it does not consume %q: %v", s.role.queue, err)
	}
	if consumer.noAck {
		return broken("it consumes with no-ack")
	}
	return kept()
}

func boundPrefetch(_ context.Context, s *session) verdict {
	bounds := make(map[[2]int]uint16)
	for _, e := range s.trace.since(s.client.from) {
		at := [2]int{e.conn, int(e.channel)}
		switch {
		case e.what == bounded:
			bounds[at] = e.prefetch
		case e.what == consumed && bounds[at] == 0:
			return broken("it consumes %s without a prefetch count", e.queue)
		}
	}
	return kept()
}

// preconditionFailed is how the broker answers to a declaration that differs from what exists.
const preconditionFailed = 406

func (e event) refusesDeclaration() bool {
	return e.what == closed && e.code == preconditionFailed && strings.Contains(e.text, "inequivalent")
}

func declaresExactly(_ context.Context, s *session) verdict {
	for _, e := range s.trace.since(s.client.from) {
		if e.refusesDeclaration() {
			return broken("the broker says: %s", e.text)
		}
	}
	return kept()
}

// workTakes is how long the work takes that shows whether a worker acks before it.
const workTakes = 500 * time.Millisecond

func acksAfterWork(ctx context.Context, s *session) verdict {
	c, err := s.ask(ctx, doSucceed, usual(s.id()))
	if err != nil {
		return untested("%v", err)
	}
	if v := c.handled(ctx); v.state != Kept {
		return v
	}
	takes := s.slowly(workTakes)
	if c, err = s.sendWait(ctx, takes); err != nil {
		return untested("%v", err)
	}
	e, err := c.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	// A delivery is recorded before the client has it, and an ack after: so the time between them is never too short.
	if took := e.at.Sub(c.deliveries()[0].at); took < takes {
		return broken("the work takes %s, but the ack came %s after the delivery", takes, took.Round(time.Millisecond))
	}
	return c.handled(ctx)
}

// sendWait sends a message that takes a while.
func (s *session) sendWait(ctx context.Context, d time.Duration) (*course, error) {
	id := s.id()
	return s.send(ctx, id, waiting(id, d), usual(id))
}

func waiting(id string, d time.Duration) []byte {
	return fmt.Appendf(nil, `{"id":%q,"do":%q,"ms":%d}`, id, doWait, d.Milliseconds())
}
