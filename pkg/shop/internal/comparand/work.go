package comparand

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/measure"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/queues"
)

// work is what a receiver does. It is safe for concurrent use.
type work struct {
	delay   atomic.Int64     // in nanoseconds
	payment *payment.Service // nil: nothing is stored
	log     *measure.EffectLog
}

// authorize does the work, and records that under the message's id before it returns. One half of the delay comes
// before the effect, and one after it, so that a crash finds some work not done yet, and some done but not answered.
func (w *work) authorize(ctx context.Context, r queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
	half := time.Duration(w.delay.Load() / 2)
	if err := wait(ctx, half); err != nil {
		return queues.AuthorizePaymentReply{}, err
	}
	reply := queues.AuthorizePaymentReply{
		OrderID: r.OrderID, AuthorizationID: r.OrderID, Status: queues.PaymentAuthorized,
		Amount: r.Amount, DecidedAt: time.Now(),
	}
	if w.payment != nil {
		var err error
		if reply, err = w.payment.Authorize(ctx, r); err != nil {
			return reply, err
		}
	}
	if err := w.log.Record(leveret.MessageFrom(ctx).ID); err != nil {
		return reply, err
	}
	return reply, wait(ctx, half)
}

// take is authorize for those who wait for no reply.
func (w *work) take(ctx context.Context, r queues.AuthorizePaymentRequest) error {
	_, err := w.authorize(ctx, r)
	return err
}

func (w *work) setDelay(_ context.Context, d Delay) (Delay, error) {
	w.delay.Store(int64(time.Duration(d.Milliseconds) * time.Millisecond))
	return d, nil
}

// register makes the work the handler of everything that Receiver serves.
func (w *work) register(h *leveret.Handlers) {
	queues.AuthorizePayment.Answer(h, w.authorize)
	PlaceOrder.Handle(h, w.take)
	OrderPlaced.Subscribe(h, w.take)
	SetDelay.Answer(h, w.setDelay)
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
