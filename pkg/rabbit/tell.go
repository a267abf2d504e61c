package rabbit

import "context"

// Tell publishes m if that is possible at once, and forgets it: for hints that nobody relies on. It has a channel of its
// own, which lasts as long as the connection: where the hint may not be published, or its exchange does not exist, the
// broker closes that one, and no call is any the worse.
func (r *Requester) Tell(m *Publication) {
	calls := r.channel.current.Load()
	if calls == nil {
		return
	}
	ch := calls.hints
	if !ch.alive() || m.check(r.config.MaxBody) != nil || ch.fits(m) != nil || !r.conn.trySendable(ch.session, len(m.Body)) {
		return
	}
	hint := *m
	hint.Mandatory = false // nobody looks at what comes back
	_, _ = ch.write(context.Background(), &hint)
	ch.session.wire.release(len(m.Body))
}
