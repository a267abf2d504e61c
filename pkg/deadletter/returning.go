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
	// stalled is how long to wait for what another consumer may have taken.
	stalled = time.Second
)

// returning is what a reader holds: only their number, and the delivery tag of each 32nd.
type returning struct {
	held  int
	marks []uint64
	more  int // behind the last mark
}

func (r *returning) hold(tag uint64) {
	r.held++
	if r.more++; r.more >= together && (len(r.marks) == 0 || tag > r.marks[len(r.marks)-1]) {
		r.marks, r.more = append(r.marks, tag), 0
	}
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
	// The answer to the first brings out the acks that the channel has kept back, and the second is carried out behind
	// those. Then the consumer can be cancelled: see reader.
	err := r.sendAcks()
	for err == nil && r.acked > 0 && r.current.deliveries != nil && r.read < r.ready { // what the acks let in comes before what is asked for
		d, ok, lost := r.receive(ctx, settling)
		if err = lost; !ok {
			break
		}
		r.returning.hold(d.DeliveryTag)
	}
	for range 2 {
		if err == nil && r.acked > 0 {
			err = r.flush(ctx)
		}
	}
	err = cmp.Or(err, r.cancel(ctx))
	if r.asked != nil {
		r.returning.hold(r.asked.DeliveryTag)
	}
	if err == nil && r.held > 0 {
		err = r.giveBack(ctx, limit)
	}
	if r.life.Err() != nil {
		err = context.Cause(r.life)
	}
	closing := r.channel.Do(ctx, r.queue, r.channel.Close)
	if err = cmp.Or(err, closing); err != nil {
		return fmt.Errorf("put back messages of the queue %s: %w", r.queue, err)
	}
	r.known = r.acked
	return nil
}

// flush asks for a message, which the queue answers once it has taken in what was sent before.
func (r *reader) flush(ctx context.Context) error {
	d, ok, err := r.ask(ctx)
	if ok {
		r.returning.hold(d.DeliveryTag)
	}
	return err
}

// giveBack puts back what is held, for so long in its order.
func (r *reader) giveBack(ctx context.Context, limit time.Duration) error {
	until := time.Now().Add(limit)
	state, err := r.channel.Inspect(ctx, r.queue)
	if err != nil {
		return err
	}
	back, all := 0, state.Ready+r.held
	for i, tag := range r.marks {
		if err := r.channel.Nack(tag, true, true); err != nil {
			return err
		}
		back += together
		if (i+1)%ahead == 0 && !r.await(ctx, state.Ready+back, until) {
			break
		}
	}
	if err := r.channel.Nack(0, true, true); err != nil { // all that are left
		return err
	}
	r.await(ctx, all, until.Add(limit))
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
