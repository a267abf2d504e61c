package rabbit

// Tell publishes m if that is possible at once, and forgets it: for hints that nobody relies on.
func (r *Requester) Tell(m *Publication) {
	ch := r.channel.Load()
	if ch == nil || ch.IsClosed() || r.conn.blocked.Load() || checkStrings(m) != nil {
		return
	}
	_ = ch.Publish(m.Exchange, m.RoutingKey, false, false, m.Publishing)
}
