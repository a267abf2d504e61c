package rabbit

import (
	"math/bits"
	"sync"
	"time"
)

// ackFlush is how long an ack may wait for others to go with it.
const ackFlush = 5 * time.Millisecond

// acknowledger is what acks are sent through: a channel of the driver.
type acknowledger interface {
	Ack(tag uint64, multiple bool) error
	Nack(tag uint64, multiple, requeue bool) error
}

// acks settles the deliveries of one channel, many with one frame where it can: one multiple ack for the prefix of
// delivery tags that are all settled. Those beyond it wait for the prefix to reach them; where it does not in a few
// milliseconds, or too many wait, they are acked one by one. A slow handler holds nobody's ack back.
//
// Delivery tags of a channel are 1, 2, 3, …. A multiple ack must name a tag that is still unsettled at the broker, or
// the broker closes the channel: so it never names one that was nacked, or acked alone.
type acks struct {
	channel acknowledger

	mu      sync.Mutex
	batch   int // from so many on, the prefix is acked
	most    int // so many do not wait any longer
	settled bitset
	seen    uint64   // the prefix when it was last acked
	waiting []uint64 // acked by their handlers, not yet told to the broker
	timer   *time.Timer
	err     error // of the first frame that could not be sent
}

func newAcks(channel acknowledger, prefetch, handlers int) *acks {
	a := &acks{channel: channel}
	a.size(prefetch, handlers)
	a.timer = time.AfterFunc(time.Hour, a.Flush)
	a.timer.Stop()
	return a
}

// size sets how many acks wait for each other. What waits is missing from the prefetch: there must be enough left of it to
// keep all handlers busy.
func (a *acks) size(prefetch, handlers int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.batch = max(prefetch/4, 1)
	a.most = max(min(3*a.batch, prefetch-handlers), a.batch)
}

// Ack settles a delivery for good, now or in a few milliseconds.
func (a *acks) Ack(tag uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled.set(tag)
	a.waiting = append(a.waiting, tag)
	if len(a.waiting) == 1 {
		a.timer.Reset(ackFlush)
	}
	switch n := len(a.waiting); {
	case n >= a.most:
		a.flush()
	case n >= a.batch:
		a.ackPrefix()
	}
}

// Nack gives a delivery back to its queue, or, without requeue, has the broker dead-letter it; at once.
func (a *acks) Nack(tag uint64, requeue bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled.set(tag)
	a.note(a.channel.Nack(tag, false, requeue))
}

// Flush sends what waits.
func (a *acks) Flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flush()
}

// Close sends what waits, and stops the timer. It returns the first error of any frame.
func (a *acks) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flush()
	a.timer.Stop()
	return a.err
}

// flush acks all that waits.
func (a *acks) flush() {
	a.ackPrefix()
	for _, tag := range a.waiting {
		a.note(a.channel.Ack(tag, false))
	}
	a.waiting = a.waiting[:0]
	a.timer.Stop()
}

// ackPrefix acks what waits up to the first delivery that is not settled. The rest goes on waiting.
func (a *acks) ackPrefix() {
	prefix := a.settled.prefix()
	if prefix == a.seen {
		return
	}
	a.seen = prefix
	var upTo uint64
	rest := a.waiting[:0]
	for _, tag := range a.waiting {
		if tag > prefix {
			rest = append(rest, tag)
		} else {
			upTo = max(upTo, tag)
		}
	}
	a.waiting = rest
	if upTo > 0 {
		a.note(a.channel.Ack(upTo, true))
	}
	if len(rest) == 0 {
		a.timer.Stop()
	}
}

// note keeps the first error: a channel that is gone takes its unsettled deliveries with it, and they come again.
func (a *acks) note(err error) {
	if a.err == nil {
		a.err = err
	}
}

// bitset is a set of delivery tags, starting at 1, that forgets the prefix that is complete. It takes a bit for each tag
// beyond the first that is missing: 4 MB for 32 million messages behind one slow handler.
type bitset struct {
	words []uint64
	base  uint64 // tags 1 … 64*base are all in the set
}

func (b *bitset) set(tag uint64) {
	tag--
	if tag/64 < b.base {
		return
	}
	word := tag/64 - b.base
	for uint64(len(b.words)) <= word {
		b.words = append(b.words, 0)
	}
	b.words[word] |= 1 << (tag % 64)
	full := 0
	for full < len(b.words) && b.words[full] == ^uint64(0) {
		full++
	}
	if full > 0 {
		b.base += uint64(full)
		b.words = append(b.words[:0], b.words[full:]...)
	}
}

// prefix returns the highest tag up to which every tag is in the set.
func (b *bitset) prefix() uint64 {
	if len(b.words) == 0 {
		return b.base * 64
	}
	return b.base*64 + uint64(bits.TrailingZeros64(^b.words[0]))
}
