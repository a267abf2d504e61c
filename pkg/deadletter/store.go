package deadletter

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// ErrNoQueue is the error of a dead-letter queue that was never declared.
var ErrNoQueue = rabbit.ErrNotFound

// A Store is the dead letters of a broker. It is safe for concurrent use; two calls that read one queue at once see
// different parts of it.
type Store struct {
	// Reader says who reads, in the names of consumers, along with the host and the process: others find fewer letters
	// meanwhile. Default "leveret".
	Reader string
	// Consumer names the service that consumes a work queue. Default, and where it returns "": what the queue's name begins
	// with.
	Consumer func(queue string) string
	// Contract names the contract that a message of a work queue belongs to; empty if none. Default the message's type.
	Contract func(queue string, d *rabbit.Delivery) string

	consume, publish *rabbit.Conn
	names            topology.Names
	budget           time.Duration // of the first round
}

// New makes a Store on a connection, which stays the caller's. It reads over the consuming connection and replays over
// the publishing one: a broker that is short of memory or disk stops reading from connections that publish.
func New(conn *leveret.Conn) *Store {
	return &Store{consume: conn.Rabbit(), publish: conn.Publishing(), names: conn.Names(), budget: firstBudget}
}

// WorkQueue returns the work queue of a name that is a work queue's, or its dead-letter queue's.
func WorkQueue(name string) string { return strings.TrimSuffix(name, topology.DeadLetterSuffix) }

// Count returns how many messages a source has, without those that somebody is looking at. It fails with [ErrNoQueue] if
// there is no such queue, and with rabbit.ErrRefused if the user may not ask.
func (s *Store) Count(ctx context.Context, from Source) (int, error) {
	state, err := s.consume.Inspect(ctx, from.Name)
	return state.Ready, err
}

// ending is how long the broker may still count a consumer that has just ended.
const ending = time.Second

// Readers returns how many consumers a source has: others that read it, and hold some of its messages meanwhile. Those
// that end within a second are not counted. It fails as Count does.
func (s *Store) Readers(ctx context.Context, from Source) (int, error) {
	for until := time.Now().Add(ending); ; {
		state, err := s.consume.Inspect(ctx, from.Name)
		if err != nil || state.Consumers == 0 || time.Now().After(until) {
			return state.Consumers, err
		}
		contexts.Sleep(ctx, ending/20)
	}
}

// Peek passes up to limit letters of a source to visit, until that returns false, then puts all of them back.
// It returns how many there are. A letter stays valid after visit has returned. Peek fails as Count does.
//
// Letters come in the order of the queue, at first the order in which they failed. A quorum queue puts what it gets
// back before messages that were never taken, but behind what it got back earlier. So that the order stays, Peek takes
// what was taken before along with what it visits, up to 1,000 letters; beyond that a part moves behind the others.
//
// It may take longer than the broker's consumer timeout: from time to time it puts back what it has read, and goes on.
// It fails with [ErrHeldTooLong] where that does not help.
func (s *Store) Peek(ctx context.Context, from Source, limit int, visit func(*Letter) bool) (total int, err error) {
	p := &peeking{limit: limit, total: -1, visit: visit, from: from}
	err = s.rounds(ctx, from, p)
	return max(p.total, 0), err
}

// peeking is one look.
type peeking struct {
	from    Source
	limit   int
	total   int // how many letters there were; -1 before the first round
	visit   func(*Letter) bool
	visited []uint64 // a hash of each letter, for the next rounds
	ended   bool     // visit wants no more
}

// along is how many letters are taken that nobody wants to see, so that the order stays.
const along = 1000

func (p *peeking) progress() int { return len(p.visited) }

func (p *peeking) left() int { return p.total }

func (p *peeking) between(context.Context) error { return nil }

// closed is no error where the broker has put back what was held.
func (p *peeking) closed(_ *reader, err error) error {
	if errors.Is(err, rabbit.ErrTookBack) {
		return nil
	}
	return err
}

func (p *peeking) round(ctx context.Context, r *reader, until time.Time) (finished bool, err error) {
	if p.total < 0 {
		p.total = r.ready
	}
	before := make(map[uint64]int, len(p.visited))
	for _, hash := range p.visited {
		before[hash]++
	}
	for more := 0; p.limit > 0 && r.read < p.total && more < along; {
		full := p.ended || len(p.visited) >= p.limit
		if time.Now().After(until) {
			return full, nil
		}
		d, ok, err := r.next(ctx, func() {})
		if err != nil || !ok {
			return true, err
		}
		r.hold(d)
		if full {
			if !d.Redelivered {
				return true, nil
			}
			more++
			continue
		}
		l := p.from.letter(d)
		hash := l.hash()
		if before[hash] > 0 {
			before[hash]--
			continue
		}
		p.visited = append(p.visited, hash)
		p.ended = !p.visit(l)
	}
	return true, nil
}
