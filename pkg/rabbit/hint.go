package rabbit

import "context"

// PublishHint publishes m if that is possible at once, and forgets it: for hints that nobody relies on. Hints have their
// own channel, which lasts as long as the connection: where one may not be published, or its exchange does not exist,
// the broker closes that channel, and no call suffers.
func (r *Requester) PublishHint(m *Publication) {
	ch := r.hints.Load()
	if ch == nil || !ch.alive() || m.check(r.config.MaxBody) != nil || !r.conn.trySendable(ch.session, len(m.Body)) {
		return
	}
	defer ch.session.wire.release(len(m.Body))
	hint := *m
	hint.Mandatory = false // nobody looks at what comes back
	_, _ = ch.write(context.Background(), &hint)
}
