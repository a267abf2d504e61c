package rabbit

import "time"

// NewSlowBackoff makes a backoff whose first wait may already take as long as its limit.
func NewSlowBackoff(limit time.Duration) *Backoff {
	b := NewBackoff(limit)
	b.first = limit
	return b
}

// Silent reports whether closing something waits only a moment for the broker, which has not answered in time before.
func (c *Conn) Silent() bool { return c.session.silent.Load() }

// InFlight returns how many publishes have begun and have no outcome yet.
func (p *Publisher) InFlight() int { return len(p.slots) }

// Written grows with each message that is written to the channel, which must be open.
func (p *Publisher) Written() uint64 { return (*p.lane.channel.current.Load()).GetNextPublishSeqNo() }

// Hurry gives each suspect that much time.
func (p *Publisher) Hurry(limit time.Duration) { p.lane.trial.limit = limit }

// Apart reports whether the publisher has a connection apart, for suspects.
func (p *Publisher) Apart() bool {
	t := &p.lane.trial
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	return t.channel != nil
}

// HoldApart keeps all replies that are sent apart waiting, until the function that it returns is called.
func (c *Conn) HoldApart() func() {
	turn := c.replies.lane.trial.turn
	turn <- struct{}{}
	return func() { <-turn }
}

// Remembered returns how many items a declarer remembers.
func (d *Declarer) Remembered() int { return len(d.items) }

// Current returns the channel that was published on last; nil between two of them.
func (p *Publisher) Current() *Channel {
	if c := p.lane.channel.current.Load(); c != nil {
		return (*c).base()
	}
	return nil
}
