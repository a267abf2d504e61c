package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

const (
	// together is how many messages a quorum queue puts back in their order: RabbitMQ 3.10 mixes up more.
	together = 32
	// ahead is how many commands are sent before the queue is seen to have carried them out. Beyond 32 the channel keeps
	// them and makes one of them (rabbit_fifo_client, 3.10 to 4.3).
	ahead = 16
	// inOrder is how long messages are put back in their order; then the rest goes back at once. An interrupted reader is
	// in a hurry.
	inOrder, inOrderInterrupted = 2 * time.Minute, 3 * time.Second
	// stalled is how long to wait for what another consumer may have taken, and settling for what is on its way to a
	// consumer that is cancelled.
	stalled, settling = time.Second, 50 * time.Millisecond
)

// returning is what a reader holds: only their number, and marks of groups that keep their order when they go back.
type returning struct {
	held  int
	last  uint64 // the last delivery tag
	marks []mark
}

// A mark is the end of a group of messages that one consumer got.
type mark struct {
	tag  uint64
	held int // up to there
}

func (r *returning) hold(tag uint64) {
	r.held++
	r.last = max(r.last, tag)
	if r.held-r.marked() >= together {
		r.border()
	}
}

// border ends the group: what is held from here on belongs to another consumer.
func (r *returning) border() {
	if r.held > r.marked() {
		r.marks = append(r.marks, mark{r.last, r.held})
	}
}

func (r *returning) marked() int {
	if len(r.marks) == 0 {
		return 0
	}
	return r.marks[len(r.marks)-1].held
}

// close puts back what was not acked, and returns when the queue has seen that, and all acks, though ctx has ended. The
// next look finds what was put back, in its order.
//
// It is rabbit.ErrNotConnected where the connection was lost, and rabbit.ErrTookBack where the broker has taken back what
// was held; acks that are unsure may be lost then.
func (r *reader) close(ctx context.Context) error {
	defer r.stop()
	limit := inOrder
	if ctx.Err() != nil {
		limit = inOrderInterrupted
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*limit)
	defer cancel()
	err := r.sendAcks() // fails where nothing can be acked any more
	if err == nil {
		err = r.finish(ctx)
	}
	if err == nil && r.held > 0 {
		err = r.giveBack(ctx, limit)
	}
	if lost := context.Cause(r.life); lost != nil {
		err = lost // before the channel is closed, which ends its life
	}
	closing := r.channel.Do(ctx, r.queue, r.channel.Close)
	if err = cmp.Or(err, closing); err != nil {
		return fmt.Errorf("put back messages of the queue %s: %w", r.queue, err)
	}
	r.known = r.acked
	return nil
}

// finish holds what was not returned by next, and returns once the queue has taken in all acks.
func (r *reader) finish(ctx context.Context) error {
	if r.from != nil { // it was interrupted
		for ok := true; ok; {
			var err error
			if ok, err = r.receive(ctx, settling); err != nil {
				return err
			}
		}
	}
	for _, d := range r.batch {
		r.hold(d)
	}
	r.batch = nil
	if r.from != nil {
		if err := r.cancel(ctx); err != nil {
			return err
		}
	}
	if r.acked == r.known {
		return nil
	}
	// The answer to the first brings out the acks that the channel has kept back, and the second is carried out behind
	// those.
	if err := r.ask(ctx); err != nil {
		return err
	}
	return r.ask(ctx)
}

// ask asks for a message, and holds it.
func (r *reader) ask(ctx context.Context) error {
	tags := make(chan uint64, 1)
	if err := r.channel.Do(ctx, r.queue, func() error {
		d, _, err := r.channel.Get(r.queue, false)
		tags <- d.DeliveryTag
		return err
	}); err != nil {
		return err
	}
	if tag := <-tags; tag != 0 {
		r.border()
		r.returning.hold(tag)
	}
	return nil
}

// giveBack puts back what is held, for so long in its order.
func (r *reader) giveBack(ctx context.Context, limit time.Duration) error {
	until := time.Now().Add(limit)
	state, err := r.channel.Inspect(ctx, r.queue)
	if err != nil {
		return err
	}
	r.border()
	for i, m := range r.marks {
		if err := r.channel.Nack(m.tag, true, true); err != nil {
			return err
		}
		if (i+1)%ahead == 0 && !r.await(ctx, state.Ready+m.held, until) {
			break
		}
	}
	if err := r.channel.Nack(0, true, true); err != nil { // all that are left
		return err
	}
	r.await(ctx, state.Ready+r.held, until.Add(limit))
	return ctx.Err()
}

// await waits until that many messages are ready, and reports whether they are. It gives up when their number does not
// grow for a while.
func (r *reader) await(ctx context.Context, ready int, until time.Time) bool {
	most, grown := -1, time.Now()
	for {
		state, err := r.channel.Inspect(ctx, r.queue)
		now := time.Now()
		switch {
		case err == nil && state.Ready >= ready:
			return true
		case err != nil, now.After(until), now.Sub(grown) > stalled:
			return false
		case state.Ready > most:
			most, grown = state.Ready, now
		}
		time.Sleep(2 * time.Millisecond)
	}
}
