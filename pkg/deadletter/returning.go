package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// together is how many messages a quorum queue puts back in their order: RabbitMQ 3.10 mixes up more.
	together = 32
	// ahead is how many commands are sent before the queue is seen to have carried them out. Beyond 32 the channel keeps
	// them and makes one of them (rabbit_fifo_client, 3.10 to 4.3).
	ahead = 16
	// inOrder is how long messages are put back in their order; then the rest goes back at once. An interrupted reader is
	// in a hurry. Until the queue has them it may take twice as long, and four times until all is closed.
	inOrder, inOrderInterrupted = 2 * time.Minute, 3 * time.Second
	// stalled is how long to wait for what another consumer may have taken: longer than a busy disk stalls. settling is how
	// long to wait for what is on its way to a consumer that is cancelled.
	stalled, settling = 10 * time.Second, 50 * time.Millisecond
)

// close puts back what was not acked, and returns when the queue has seen that, and all acks, though ctx has ended. The
// next look finds what was put back, in its order.
//
// It is rabbit.ErrNotConnected where the connection was lost, and rabbit.ErrTookBack where the broker has taken back what
// was held; acks that are unsure may be lost then.
func (r *reader) close(ctx context.Context) error {
	defer r.end(nil)
	interrupted := ctx
	ctx, cancel := hurried(interrupted, 4)
	defer cancel()
	err := r.sendAcks() // fails where nothing can be acked any more
	if err == nil {
		err = r.finish(ctx)
	}
	if err == nil {
		err = r.giveBack(ctx, interrupted)
	}
	if lost := context.Cause(r.life); lost != nil {
		err = lost // before a channel is closed, which ends its life
	}
	for _, h := range r.holders {
		if errors.Is(err, rabbit.ErrTookBack) {
			r.calm(ctx, h)
		}
		closing := h.channel.End(ctx)
		err = cmp.Or(err, closing)
	}
	if lost := context.Cause(r.life); err != nil && errors.Is(lost, rabbit.ErrTookBack) {
		err = lost // it may cost the connection
	}
	if err != nil {
		return fmt.Errorf("put back messages of the queue %s: %w", r.queue, err)
	}
	for _, h := range r.holders {
		h.known = h.acked
	}
	return nil
}

// hurried returns a context that ends after so many times inOrder, or so many times inOrderInterrupted after the end of
// ctx.
func hurried(ctx context.Context, times int) (context.Context, func()) {
	outlasting, stop := contexts.Outlasting(ctx, time.Duration(times)*inOrderInterrupted, nil)
	limited, cancel := context.WithTimeout(outlasting, time.Duration(times)*inOrder)
	return limited, func() { cancel(); stop() }
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
		if err := r.cancel(ctx); err != nil {
			return err
		}
	}
	for _, d := range r.batch {
		r.hold(d)
	}
	r.batch = nil
	for _, h := range r.holders {
		if err := r.prove(ctx, h); err != nil {
			return err
		}
		h.late, r.batch = len(r.batch), nil // they come behind all that is held
	}
	return nil
}

// calm returns once no consumer of a channel can be struck by the broker's consumer timeout any more. The driver answers
// RabbitMQ 4.3 when it cancels a consumer, and an answer behind the closing of its channel costs the whole connection.
func (r *reader) calm(ctx context.Context, h *holder) {
	if h.channel.Nack(0, true, true) == nil { // else the channel is closed already
		_, _ = r.ask(ctx, h) // it is answered behind whatever the queue said before
	}
}

// prove returns once the queue has taken in all acks of a channel. It may take the next two messages: put back, they
// would go behind others that were put back before.
func (r *reader) prove(ctx context.Context, h *holder) error {
	if err := r.sendAcks(); err != nil {
		return err
	}
	acked := h.acked
	if acked == h.known {
		return nil
	}
	// The answer to the first question brings out the acks that the channel has kept back, and the second is carried out
	// behind those.
	for range 2 {
		d, err := r.ask(ctx, h)
		if err != nil {
			return err
		}
		if d.DeliveryTag == 0 {
			continue
		}
		if h.asked == 0 {
			h.asked = d.DeliveryTag
		}
		r.arrived(d)
	}
	h.known = acked
	return nil
}

// ask asks for a message. Its tag is 0 where there is none.
func (r *reader) ask(ctx context.Context, h *holder) (rabbit.Delivery, error) {
	answers := make(chan rabbit.Delivery, 1)
	if err := h.channel.Do(ctx, r.queue, func() error {
		d, _, err := h.channel.Get(r.queue, false)
		answers <- d
		return err
	}); err != nil {
		return rabbit.Delivery{}, err
	}
	return <-answers, nil
}

// giveBack puts back what is held, in its order if that does not take too long; interrupted ends where it has to hurry.
func (r *reader) giveBack(ctx, interrupted context.Context) error {
	orderly, stop := hurried(interrupted, 1)
	defer stop()
	patient, stopWaiting := hurried(interrupted, 2)
	defer stopWaiting()
	ordered := true
	state, err := r.channel().Inspect(ctx, r.queue)
	if err != nil {
		return err
	}
	back, commands, late := state.Ready, 0, 0
	for _, h := range r.holders {
		late += h.late
		if h.held == 0 {
			continue
		}
		ordered = ordered && r.await(ctx, orderly, back) // what another channel puts back
		h.border()
		sent := 0
		for _, m := range h.marks {
			if !ordered {
				break
			}
			sent++
			if err := h.channel.Nack(m.tag, true, true); err != nil {
				return err
			}
			if commands++; commands%ahead == 0 {
				ordered = r.await(ctx, orderly, back+m.held)
			}
		}
		if sent < len(h.marks) {
			if err := h.channel.Nack(h.last, true, true); err != nil { // all that are left
				return err
			}
		}
		back += h.held
	}
	if ordered {
		r.await(ctx, orderly, back)
	}
	for _, h := range r.holders {
		if h.late > 0 {
			if err := h.channel.Nack(0, true, true); err != nil {
				return err
			}
		}
	}
	r.await(ctx, patient, back+late)
	return ctx.Err()
}

// await waits while patient lives until that many messages are ready, and reports whether they are. It gives up when
// their number does not grow for a while.
func (r *reader) await(ctx, patient context.Context, ready int) bool {
	most, grown := -1, time.Now()
	for {
		state, err := r.channel().Inspect(ctx, r.queue)
		now := time.Now()
		switch {
		case err == nil && state.Ready >= ready:
			return true
		case err != nil, patient.Err() != nil:
			return false
		case state.Ready > most: // an answer that took long is no stall
			most, grown = state.Ready, now
		case now.Sub(grown) > stalled:
			return false
		}
		time.Sleep(2 * time.Millisecond)
	}
}
