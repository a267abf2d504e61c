package deadletter

import (
	"context"
	"errors"
	"strings"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// ErrNoQueue is the error of a dead-letter queue that was never declared.
var ErrNoQueue = rabbit.ErrNotFound

// A Store is the dead letters of a broker. It is safe for concurrent use; two calls that read one queue at once see
// different parts of it.
type Store struct {
	consume, publish *rabbit.Conn
	names            topology.Names
}

// New makes a Store on a connection, which stays the caller's. It reads over the consuming connection and replays over
// the publishing one: a broker that is short of memory or disk stops reading from connections that publish.
func New(conn *leveret.Conn) *Store {
	return &Store{consume: conn.Rabbit(), publish: conn.Publishing(), names: conn.Names()}
}

// WorkQueue returns the work queue of a name that is a work queue's, or its dead-letter queue's.
func WorkQueue(name string) string { return strings.TrimSuffix(name, topology.DeadLetterSuffix) }

// Count returns how many messages a source has, without those that somebody is looking at. It fails with [ErrNoQueue] if
// there is no such queue, and with rabbit.ErrRefused if the user may not ask.
func (s *Store) Count(ctx context.Context, from Source) (int, error) {
	state, err := s.consume.Inspect(ctx, from.Name)
	return state.Ready, err
}

// Peek passes up to limit letters of a source to visit, until that returns false, then puts all of them back.
// It returns how many there are. A letter stays valid after visit has returned. Peek fails as Count does.
//
// Letters come in the order of the queue, at first the order in which they failed. A quorum queue puts what it gets
// back before messages that were never taken, but behind what it got back earlier: peeking at a part of what was peeked
// at before moves that part to the end.
func (s *Store) Peek(ctx context.Context, from Source, limit int, visit func(*Letter) bool) (total int, err error) {
	browser, err := s.consume.Browse(ctx, from.Name)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closing := browser.Close(ctx); err == nil && !errors.Is(closing, rabbit.ErrNotConnected) {
			err = closing
		}
	}()
	total = browser.State().Ready
	for range min(limit, total) {
		d, ok, err := browser.Get(ctx)
		if err != nil || !ok || !visit(from.letter(d)) {
			return total, err
		}
	}
	return total, nil
}
