package deadletter

import (
	"context"
	"errors"
	"strings"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// ErrNoQueue is the error of a dead-letter queue that nothing has ever declared.
var ErrNoQueue = rabbit.ErrNotFound

// Letters are the dead letters of a broker. It is safe for concurrent use; two that look at one queue at once see
// different parts of it.
type Letters struct {
	conn  *rabbit.Conn
	names topology.Names
}

// New makes Letters on a connection, which stays the caller's.
func New(conn *rabbit.Conn, names topology.Names) *Letters { return &Letters{conn: conn, names: names} }

// WorkQueue returns the work queue that a person means: its own name, or that of its dead-letter queue.
func WorkQueue(name string) string { return strings.TrimSuffix(name, topology.DeadLetterSuffix) }

// Count returns how many dead letters a work queue has, those not counted that somebody looks at right now. It is
// [ErrNoQueue] where there is no dead-letter queue, and rabbit.ErrRefused where the user may not ask (RabbitMQ 4.3 wants
// the right to configure the queue for it).
func (l *Letters) Count(ctx context.Context, queue string) (int, error) {
	state, err := l.conn.Inspect(ctx, l.names.DeadLetterQueue(queue))
	return state.Ready, err
}

// Peek shows up to limit dead letters of a work queue to visit, until it returns false, and gives all of them back. It
// returns how many there are. A letter is valid after visit has returned. Its errors are those of Count.
//
// They come in the order of the queue, which is that of their failures at first. A quorum queue puts what it gets back
// before what was never taken, but behind what it got back before: whoever looks at a part of what was looked at moves
// that part to the end.
func (l *Letters) Peek(ctx context.Context, queue string, limit int, visit func(*Letter) bool) (total int, err error) {
	getter, err := l.conn.Getter(ctx, l.names.DeadLetterQueue(queue))
	if err != nil {
		return 0, err
	}
	defer func() {
		if closing := getter.Close(ctx); err == nil && !errors.Is(closing, rabbit.ErrNotConnected) {
			err = closing
		}
	}()
	total = getter.State().Ready
	for range min(limit, total) {
		d, ok, err := getter.Get(ctx)
		if err != nil || !ok || !visit(letter(queue, d)) {
			return total, err
		}
	}
	return total, nil
}
