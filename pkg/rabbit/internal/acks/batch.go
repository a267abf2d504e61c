// Package acks settles the deliveries of one channel with few frames. It knows no connection: it decides what to send,
// and sends it through an interface.
package acks

import (
	"slices"
	"sync"
	"time"
)

const (
	// flushAfter is how long an ack may wait for others to travel with it.
	flushAfter = 5 * time.Millisecond
	// chunk is how many deliveries one frame gives back. RabbitMQ 3.10 returns more than that out of order.
	chunk = 32
	// maxFrames is how many frames Close sends at most for a run that is given back, whatever the prefetch.
	maxFrames = 16
)

// A Channel sends acks: a channel of the driver.
type Channel interface {
	Ack(tag uint64, multiple bool) error
	Nack(tag uint64, multiple, requeue bool) error
}

// A Batch settles the deliveries of one channel, many with one frame where it can: one multiple ack for the prefix of
// delivery tags that are all settled. Acks beyond the prefix wait for it to reach them. If it does not within a few
// milliseconds, or too many wait, they are sent one by one: a slow handler delays no other ack for long.
//
// Delivery tags of a channel are 1, 2, 3, …, and each is first passed to Arrived. A multiple ack must name a tag that
// is still unsettled at the broker, or the broker closes the channel: so it never names one that was nacked, or acked
// alone.
//
// A Batch is safe for concurrent use. Its methods block only while a frame is written.
type Batch struct {
	channel Channel

	mu       sync.Mutex
	size     int                 // the prefix is acked once this many acks wait
	most     int                 // all are acked once this many wait
	open     map[uint64]struct{} // arrived and not settled: no more than the prefetch
	arrived  uint64              // the last that has
	prefix   uint64              // all up to it are settled
	waiting  []uint64            // acked by their handlers, not yet at the broker
	unbegun  []uint64            // to be given back
	stopping bool
	sent     bool // a frame, since Stop
	timer    *time.Timer
	err      error // of the first frame that could not be sent
}

// New makes a Batch for a channel with a prefetch and a number of handlers. What waits is missing from the prefetch, so
// enough of it is left to keep all handlers busy.
func New(channel Channel, prefetch, handlers int) *Batch {
	b := &Batch{channel: channel, size: max(prefetch/4, 1), open: make(map[uint64]struct{})}
	b.most = max(min(3*b.size, prefetch-handlers), b.size)
	b.timer = time.AfterFunc(time.Hour, b.Flush)
	b.timer.Stop()
	return b
}

// Arrived records a delivery. It comes before any other call with the tag.
func (b *Batch) Arrived(tag uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[tag], b.arrived = struct{}{}, tag
}

// Ack settles a delivery for good, now or in a few milliseconds.
func (b *Batch) Ack(tag uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, tag)
	b.waiting = append(b.waiting, tag)
	if len(b.waiting) == 1 {
		b.timer.Reset(flushAfter)
	}
	switch n := len(b.waiting); {
	case n >= b.most:
		b.flush()
	case n >= b.size:
		b.ackPrefix()
	}
}

// Nack gives a delivery back to its queue, after Stop as [Batch.GiveBack] does; or, without requeue, has the broker
// dead-letter it. It does so at once.
func (b *Batch) Nack(tag uint64, requeue bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping && requeue {
		b.unbegun = append(b.unbegun, tag)
		return
	}
	b.nack(tag, requeue)
}

func (b *Batch) nack(tag uint64, requeue bool) {
	delete(b.open, tag)
	b.note(b.channel.Nack(tag, false, requeue))
}

// GiveBack keeps a delivery that no handler will begin, until Close or [Batch.Trickle] gives it back to its queue.
func (b *Batch) GiveBack(tag uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unbegun = append(b.unbegun, tag)
}

// AckNow settles a delivery for good. The ack has been written when it returns.
func (b *Batch) AckNow(tag uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, tag)
	b.note(b.channel.Ack(tag, false))
}

// Trickle sends up to n of the acks that wait and of the deliveries to be given back, each with its own frame, the
// oldest first.
func (b *Batch) Trickle(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.unbegun)
	for ; n > 0 && len(b.waiting) > 0; n-- {
		b.note(b.channel.Ack(b.waiting[0], false))
		b.waiting = b.waiting[1:]
	}
	for ; n > 0 && len(b.unbegun) > 0; n-- {
		b.nack(b.unbegun[0], true)
		b.unbegun = b.unbegun[1:]
	}
}

// Flush sends the acks that wait.
func (b *Batch) Flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
}

// Stop sends the acks that wait. From then on Ack sends nothing but acks of the prefix, and Nack with requeue nothing
// at all: the rest waits for Close or [Batch.Trickle], because the fewer frames precede the end of a channel, the
// better. AckNow, and Nack without requeue, still send at once.
func (b *Batch) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
	b.stopping, b.sent = true, false
}

// Close sends all that waits, acks and what is given back, and returns the first error of any frame. By then every
// delivery must have been passed to Ack, Nack or GiveBack. It reports whether anything was sent since Stop, which the
// queue need not have yet.
//
// A quorum queue's client in the broker sends no more than some 32 commands of a channel ahead of what the queue has
// applied, its own among them. It keeps the rest in the channel's process, which forgets them when the channel is closed
// (rabbit_fifo_client, 3.10 to 4.3). So Close settles runs of deliveries with one frame each, in the order of their tags.
func (b *Batch) Close() (sent bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer.Stop()
	slices.Sort(b.waiting)
	slices.Sort(b.unbegun)
	together := max(chunk, (len(b.unbegun)+maxFrames-1)/maxFrames)
	for len(b.waiting) > 0 || len(b.unbegun) > 0 {
		if n := before(b.waiting, b.unbegun); n > 0 {
			b.note(b.channel.Ack(b.waiting[n-1], true))
			b.waiting = b.waiting[n:]
			continue
		}
		n := min(before(b.unbegun, b.waiting), together)
		b.note(b.channel.Nack(b.unbegun[n-1], true, true))
		b.unbegun = b.unbegun[n:]
	}
	return b.sent, b.err
}

// before returns how many of the sorted tags come before all of the others.
func before(tags, others []uint64) int {
	if len(others) == 0 {
		return len(tags)
	}
	n, _ := slices.BinarySearch(tags, others[0])
	return n
}

func (b *Batch) flush() {
	b.ackPrefix()
	if b.stopping {
		return
	}
	for _, tag := range b.waiting {
		b.note(b.channel.Ack(tag, false))
	}
	b.waiting = b.waiting[:0]
	b.timer.Stop()
}

// ackPrefix acks what waits up to the first delivery that is not settled. The rest goes on waiting.
func (b *Batch) ackPrefix() {
	seen := b.prefix
	for b.prefix < b.arrived {
		if _, open := b.open[b.prefix+1]; open {
			break
		}
		b.prefix++
	}
	if b.prefix == seen {
		return
	}
	var upTo uint64
	rest := b.waiting[:0]
	for _, tag := range b.waiting {
		if tag > b.prefix {
			rest = append(rest, tag)
		} else {
			upTo = max(upTo, tag)
		}
	}
	b.waiting = rest
	if upTo > 0 {
		b.note(b.channel.Ack(upTo, true))
	}
	if len(rest) == 0 {
		b.timer.Stop()
	}
}

// note records that a frame was sent, and the first error. A channel that is gone takes its unsettled deliveries with it, and
// they come again.
func (b *Batch) note(err error) {
	b.sent = true
	if b.err == nil {
		b.err = err
	}
}
