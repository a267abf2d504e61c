package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// ErrNoQueue is the error of a queue that does not exist.
var ErrNoQueue = errors.New("no such queue")

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
// [ErrNoQueue] where nothing has ever declared its dead-letter queue.
func (l *Letters) Count(ctx context.Context, queue string) (int, error) {
	s, err := l.open(ctx, queue)
	if err != nil {
		return 0, err
	}
	return s.ready, s.close(ctx)
}

// Peek shows up to limit dead letters of a work queue, oldest first, to visit, until it returns false, and gives all of
// them back. It returns how many there are. A letter is valid after visit has returned.
func (l *Letters) Peek(ctx context.Context, queue string, limit int, visit func(*Letter) bool) (total int, err error) {
	s, err := l.open(ctx, queue)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	for range min(limit, s.ready) {
		letter, err := s.next(ctx)
		if err != nil || letter == nil {
			return s.ready, err
		}
		s.keep(letter)
		if !visit(letter) {
			break
		}
	}
	return s.ready, nil
}

// session is one look at a dead-letter queue, over a channel of its own.
type session struct {
	channel *rabbit.Channel
	queue   string // the work queue
	dlq     string
	ready   int // when the session began

	kept    uint64 // the last delivery tag of those to be given back
	holding int    // how many are to be given back
}

func (l *Letters) open(ctx context.Context, queue string) (*session, error) {
	queue = WorkQueue(queue)
	s := &session{queue: queue, dlq: l.names.DeadLetterQueue(queue)}
	var err error
	if s.channel, s.ready, err = inspect(ctx, l.conn, s.dlq); err != nil {
		return nil, err
	}
	return s, nil
}

// Inspect returns how many messages of a queue are ready to be delivered, and how many consumers it has. It is
// [ErrNoQueue] where there is none, and rabbit.ErrRefused where the user may not ask (RabbitMQ 4.3 wants the right to
// configure the queue for it).
func Inspect(ctx context.Context, conn *rabbit.Conn, queue string) (ready, consumers int, err error) {
	channel, ready, consumers, err := passive(ctx, conn, queue)
	if err != nil {
		return 0, 0, err
	}
	return ready, consumers, closeChannel(ctx, channel)
}

func inspect(ctx context.Context, conn *rabbit.Conn, queue string) (*rabbit.Channel, int, error) {
	channel, ready, _, err := passive(ctx, conn, queue)
	return channel, ready, err
}

// passive asks for a queue, and returns the channel it asked on.
func passive(ctx context.Context, conn *rabbit.Conn, queue string) (*rabbit.Channel, int, int, error) {
	channel, err := conn.Channel(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	type counts struct{ messages, consumers int }
	found, err := await(ctx, func() (counts, error) {
		q, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		return counts{q.Messages, q.Consumers}, err
	})
	if err != nil {
		_ = closeChannel(ctx, channel)
		return nil, 0, 0, explain(err, "look at the queue "+queue)
	}
	return channel, found.messages, found.consumers, nil
}

// next takes the next letter out of the queue; nil when there is none.
func (s *session) next(ctx context.Context) (*Letter, error) {
	type got struct {
		delivery rabbit.Delivery
		ok       bool
	}
	g, err := await(ctx, func() (got, error) {
		d, ok, err := s.channel.Get(s.dlq, false)
		return got{d, ok}, err
	})
	if err != nil {
		return nil, explain(err, "read the queue "+s.dlq)
	}
	if !g.ok {
		return nil, nil //nolint:nilnil // the end
	}
	return letter(s.queue, g.delivery), nil
}

// keep marks a letter to be given back at the end.
func (s *session) keep(l *Letter) {
	s.kept = max(s.kept, l.DeliveryTag)
	s.holding++
}

// settle acknowledges a letter: it is gone from the queue.
func (s *session) settle(l *Letter) error {
	if err := s.channel.Ack(l.DeliveryTag, false); err != nil {
		return fmt.Errorf("acknowledge a dead letter in %s: %w", s.dlq, err)
	}
	return nil
}

// close gives back what is kept, and closes the channel. It does so though ctx has ended. Giving back counts as a return
// before RabbitMQ 4.3, of which a dead-letter queue allows a million; closing the channel alone would count on 4.3, too.
func (s *session) close(ctx context.Context) error {
	if s.holding > 0 && !s.channel.IsClosed() {
		if err := s.channel.Nack(s.kept, true, true); err != nil && !s.channel.IsClosed() {
			return errors.Join(err, closeChannel(ctx, s.channel))
		}
	}
	return closeChannel(ctx, s.channel)
}

// closeChannel waits until the broker has seen all that went before on the channel, for some seconds at most.
func closeChannel(ctx context.Context, channel *rabbit.Channel) error {
	if channel.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := await(ctx, func() (struct{}, error) { return struct{}{}, channel.Close() })
	if err != nil {
		return fmt.Errorf("close a channel: %w", err)
	}
	return nil
}

// await runs a call of the driver that knows no context. A call that outlives ctx ends with its channel.
func await[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		value, err := call()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// explain gives a broker's refusal a name.
func explain(err error, what string) error {
	var code int
	// The driver's error type stays inside package rabbit; this is how the driver writes it.
	if _, scanned := fmt.Sscanf(err.Error(), "Exception (%d)", &code); scanned == nil {
		switch code {
		case 404:
			return fmt.Errorf("%s: %w", what, ErrNoQueue)
		case 403:
			return fmt.Errorf("%s: %w: %w", what, rabbit.ErrRefused, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}
