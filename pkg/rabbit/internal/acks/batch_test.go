package acks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is a broker as far as acks go: it knows what it has delivered and what became of it, and closes the channel
// when a frame names a delivery that it does not have open.
type ledger struct {
	mu      sync.Mutex
	open    []uint64 // in the order of delivery
	acked   map[uint64]bool
	nacked  map[uint64]bool // with: requeued
	frames  int
	refused error
	arrived func(uint64)
}

func newLedger() *ledger { return &ledger{acked: map[uint64]bool{}, nacked: map[uint64]bool{}} }

// batch makes the Batch that settles what is delivered.
func (l *ledger) batch(prefetch, handlers int) *Batch {
	b := New(l, prefetch, handlers)
	l.arrived = b.Arrived
	return b
}

func (l *ledger) deliver(tag uint64) {
	l.mu.Lock()
	l.open = append(l.open, tag)
	l.mu.Unlock()
	l.arrived(tag)
}

// settle takes the tag, or with multiple all up to it, from what is open.
func (l *ledger) settle(tag uint64, multiple bool, note func(uint64)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames++
	for i, open := range l.open {
		if open != tag {
			continue
		}
		from := i
		if multiple {
			from = 0
		}
		for _, settled := range l.open[from : i+1] {
			note(settled)
		}
		l.open = append(l.open[:from:from], l.open[i+1:]...)
		return nil
	}
	l.refused = fmt.Errorf("PRECONDITION_FAILED - unknown delivery tag %d", tag)
	return l.refused
}

// left returns what is open, and how many were acked.
func (l *ledger) left() (open []uint64, acked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.open), len(l.acked)
}

func (l *ledger) Ack(tag uint64, multiple bool) error {
	return l.settle(tag, multiple, func(tag uint64) { l.acked[tag] = true })
}

func (l *ledger) Nack(tag uint64, multiple, requeue bool) error {
	return l.settle(tag, multiple, func(tag uint64) { l.nacked[tag] = requeue })
}

// closed closes a batch.
func closed(t *testing.T, b *Batch) {
	t.Helper()
	_, err := b.Close()
	require.NoError(t, err)
}

// count returns how many frames came.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames
}

// settling plays one history: each byte is a step. It ends with everything settled as the handlers had, and what was
// not begun given back.
func settling(t *testing.T, prefetch, handlers int, history []byte) {
	t.Helper()
	broker := newLedger()
	b := broker.batch(prefetch, handlers)
	acked, nacked := map[uint64]bool{}, map[uint64]bool{}
	var running []uint64
	before := 0 // frames
	take := func(i int) uint64 {
		i %= len(running)
		tag := running[i]
		running = append(running[:i], running[i+1:]...)
		return tag
	}
	next := uint64(1)
	for _, step := range history {
		i, stopping := int(step>>3), b.stopping
		switch {
		case !stopping && (step&7 < 3 && len(running) < prefetch || len(running) == 0):
			broker.deliver(next)
			running = append(running, next)
			next++
		case len(running) == 0:
		case step == 0xff:
			b.Stop()
			before = broker.count()
		case step&7 == 7:
			b.Flush()
			if stopping {
				b.Trickle(2)
			}
		case step&7 == 6:
			tag, requeue := take(i), step&8 != 0
			nacked[tag] = requeue
			b.Nack(tag, requeue)
		case stopping && step&1 == 0:
			tag := take(i)
			nacked[tag] = true
			b.GiveBack(tag)
		default:
			tag := take(i)
			acked[tag] = true
			b.Ack(tag)
		}
	}
	for len(running) > 0 {
		tag := take(0)
		nacked[tag] = true
		b.GiveBack(tag)
	}
	sent, err := b.Close()
	require.NoError(t, err)
	require.Equal(t, broker.count() > before, sent)
	require.NoError(t, broker.refused)
	require.Equal(t, acked, broker.acked)
	require.Equal(t, nacked, broker.nacked)
	require.Empty(t, broker.open)
}

func TestAcksSettleWhatWasHandledAndNothingElse(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		history := make([]byte, 1000)
		for i := range history {
			history[i] = byte(random.Uint32())
		}
		settling(t, 1+int(seed%100), 1+int(seed%7)*int(seed%5), history)
	}
}

func FuzzAcks(f *testing.F) {
	f.Add(uint8(64), uint8(16), []byte{0, 0, 0, 3, 11, 19, 7, 6, 14})
	f.Add(uint8(64), uint8(16), []byte{0, 0, 0, 0, 0, 11, 0xff, 3, 8, 5, 7})
	f.Fuzz(func(t *testing.T, prefetch, handlers uint8, history []byte) {
		settling(t, 1+int(prefetch), 1+int(handlers), history)
	})
}

func TestAcksOfAPrefixTravelTogether(t *testing.T) {
	t.Parallel()
	broker := newLedger()
	a := broker.batch(400, 10)
	for tag := range uint64(1000) {
		broker.deliver(tag + 1)
		a.Ack(tag + 1)
	}
	closed(t, a)
	require.Len(t, broker.acked, 1000)
	require.Equal(t, 10, broker.frames, "one for each quarter of the prefetch")
}

// One handler that ends a little later than its neighbours does not make theirs single acks, nor hold up too many of
// them.
func TestAcksWaitForTheirPrefix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broker := newLedger()
		a := broker.batch(400, 10)
		deliverAndAck := func(from, to uint64) {
			for tag := from; tag <= to; tag++ {
				broker.deliver(tag)
				a.Ack(tag)
			}
		}
		broker.deliver(1)
		deliverAndAck(2, 200)
		require.Zero(t, broker.frames)
		a.Ack(1)
		require.Equal(t, 1, broker.frames)
		require.Len(t, broker.acked, 200)

		broker.deliver(201)
		deliverAndAck(202, 500)
		require.Equal(t, 1, broker.frames)
		deliverAndAck(501, 501)
		require.Len(t, broker.acked, 500, "without waiting any longer")
		closed(t, a)
	})
}

// A broker forgets acks that come in many frames right before a channel's end.
func TestCloseNeedsFewFrames(t *testing.T) {
	t.Parallel()
	for _, prefetch := range []int{1, 64, 300, 5000} {
		broker := newLedger()
		b := broker.batch(prefetch, min(prefetch, 16))
		running := min(prefetch, 16)
		for tag := range uint64(prefetch) {
			broker.deliver(tag + 1)
		}
		b.Stop()
		for tag := range uint64(running) { // the last to begin is the first to end
			b.Ack(uint64(running) - tag)
			b.Flush()
		}
		before := broker.frames
		for tag := uint64(running); tag < uint64(prefetch); tag++ {
			b.GiveBack(tag + 1)
		}
		closed(t, b)
		require.Len(t, broker.acked, running)
		require.Len(t, broker.nacked, prefetch-running)
		require.LessOrEqual(t, broker.frames-before, 1+maxFrames)
		require.LessOrEqual(t, broker.frames, 2+maxFrames, "after Stop no ack travels alone")
	}
}

func TestAnAckWaitsMillisecondsAndForNoSlowHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broker := newLedger()
		a := broker.batch(400, 10)
		for tag := range uint64(10) {
			broker.deliver(tag + 1) // 1 is slow
		}
		for tag := range uint64(9) {
			a.Ack(tag + 2)
		}
		_, acked := broker.left()
		require.Zero(t, acked)
		time.Sleep(flushAfter)
		synctest.Wait()
		open, acked := broker.left()
		require.Equal(t, 9, acked)
		require.Equal(t, []uint64{1}, open)
		a.Ack(1)
		time.Sleep(flushAfter)
		synctest.Wait()
		open, _ = broker.left()
		require.Empty(t, open)
		closed(t, a)
	})
}
