package order

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// Check looks at an order that takes long. Half of its time limit after the order was stored, what others still owe an answer
// for is sent again, since they may have lost it. If that does not help for another half of the limit, the order is closing:
// payment is asked to close it, as often as needed, and only its answer cancels the order. An order that was cancelled is
// announced once more, and payment is asked all the same, since it may have lost the event.
//
// Each order notes when its next check is, and a check that is not the one noted does nothing, as one of an unknown order. So a
// message that comes again does no harm, and one that is lost is replaced by [Service.Run].
func (s *Service) Check(ctx context.Context, c queues.CheckOrderCommand) error {
	again, err := s.look(ctx, c.OrderID)
	if err != nil || !again {
		return err
	}
	unanswered := s.closePayment(ctx, c.OrderID)
	s.report(ctx, c.OrderID, unanswered)
	return s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		o, err := noted(ctx, tx, c.OrderID)
		switch {
		case err != nil || o == nil:
			return err
		case unanswered != nil:
			return s.askLater(ctx, tx, o)
		case o.Status.Final():
			return reschedule(ctx, tx, o, time.Time{})
		default:
			if o, _, err = apply(ctx, tx, Update{OrderID: o.ID, Event: EventClosed}, s.now(), s.half()); err != nil {
				return err
			}
			return announce(ctx, outbox.In(tx), o)
		}
	})
}

// look is the first transaction of a check. It reports whether payment is to be asked about the order.
//
// What was done so far decides what is done next, not the clock: clocks of other processes may be minutes off, and after an
// outage a check may come long after its time.
func (s *Service) look(ctx context.Context, orderID string) (ask bool, err error) {
	err = s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		ask = false
		o, err := noted(ctx, tx, orderID)
		if err != nil || o == nil {
			return err
		}
		now, err := s.store.Now(ctx, tx)
		if err != nil {
			return err
		}
		now = store.Moment(later(now, o.CheckAt))
		switch repeated := !o.RepeatedAt.IsZero(); o.Status.State {
		case StateConfirmed: // by version 0.1.0, which knows no checks
			return reschedule(ctx, tx, o, time.Time{})
		case StateClosing:
			ask = true
			return nil
		case StateCancelled:
			ask = true
			if repeated && o.DecidedBy == "" {
				return nil
			}
			o.RepeatedAt, o.DecidedBy = now, ""
			err = update(ctx, tx, o)
		default:
			if repeated {
				ask = true
				_, _, err := apply(ctx, tx, Update{OrderID: orderID, Event: EventExpired}, s.now(), s.half())
				return err
			}
			o.RepeatedAt = now
			err = reschedule(ctx, tx, o, now.Add(s.half()))
		}
		if err != nil {
			return err
		}
		return announceAgain(ctx, outbox.In(tx), o)
	})
	return ask, err
}

// closePayment asks payment to close an order. Any reply means that nothing is held or charged, in whichever state. Half of
// the handler's time is left for noting that there was none.
func (s *Service) closePayment(ctx context.Context, orderID string) error {
	if end, ok := ctx.Deadline(); ok {
		within, cancel := context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
		ctx = within
	}
	reply, err := queues.ClosePayment.Call(ctx, s.caller, queues.ClosePaymentRequest{OrderID: orderID})
	if err == nil && reply.OrderID != orderID {
		err = leveret.Errorf(leveret.Internal, "the reply is for another order")
	}
	return err
}

// report logs that payment did not answer when it was asked to close an order, unless it did not the last time either; and that
// it answers again.
func (s *Service) report(ctx context.Context, orderID string, err error) {
	log := s.config.Logger.With("order_id", orderID)
	switch {
	case err == nil:
		if s.silent.Swap(false) {
			log.InfoContext(ctx, "payment closes orders again")
		}
	case !s.silent.Swap(true):
		log.WarnContext(ctx, "payment does not close an order, and is asked again; this is logged once until it answers", "error", err)
	default:
		log.DebugContext(ctx, "payment does not close an order, and is asked again", "error", err)
	}
}

// askLater notes when payment is asked again: after a pause first, then after as long as it was asked in vain, and in the end
// each half of a time limit.
func (s *Service) askLater(ctx context.Context, tx *sql.Tx, o *Order) error {
	now, err := s.store.Now(ctx, tx)
	if err != nil {
		return err
	}
	asked := o.CheckAt.Sub(o.RepeatedAt) // since when
	if !o.Status.Final() {
		asked -= s.half()
	}
	return reschedule(ctx, tx, o, later(now, o.CheckAt).Add(min(max(asked, s.pause()), s.half())))
}

// Announce sends again what follows from the present status of an order, for a service that has lost it. It returns
// [ErrUnknown] if there is no such order.
func (s *Service) Announce(ctx context.Context, c queues.AnnounceOrderCommand) error {
	return store.Once(ctx, s.outbox, func(tx *sql.Tx) error {
		o, err := find(ctx, tx, c.OrderID)
		if err != nil {
			return err
		}
		return announceAgain(ctx, outbox.In(tx), o)
	})
}

// announceAgain sends what others owe an answer for or, if the order is finished, how it ended. Of a pending order nothing was
// sent yet, and what is closing waits only for payment.
func announceAgain(ctx context.Context, to leveret.Sender, o *Order) error {
	switch o.Status.State {
	case StateCaptured:
		return queues.ReserveStock.Send(ctx, to, o.stock())
	case StateReserved:
		return queues.OrderPlaced.Publish(ctx, to, o.placed())
	default:
		return announce(ctx, to, o)
	}
}

// half is how long others have to answer before what they may have lost is sent again, and how long after that. It is also by how
// much a check may be late before it counts as lost.
func (s *Service) half() time.Duration { return s.config.TimeLimit / 2 }

// pause is how long payment is left alone after it has not answered for the first time, how often lost checks are looked for, and
// by how much a check may be late before its order counts as overdue.
func (s *Service) pause() time.Duration { return min(s.half(), time.Minute) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// checkID is the id of the message that is the next check of an order.
func (o *Order) checkID() string {
	return "check-" + o.ID + "-" + strconv.FormatInt(o.CheckAt.UnixMicro(), 10)
}

// noted returns the order if the message in ctx is its next check, and nil otherwise.
func noted(ctx context.Context, tx *sql.Tx, orderID string) (*Order, error) {
	o, err := find(ctx, tx, orderID)
	if err == nil && !o.CheckAt.IsZero() && o.checkID() == store.MessageID(ctx) {
		return o, nil
	}
	if errors.Is(err, ErrUnknown) { // the store was restored from a backup
		err = nil
	}
	return nil, err
}

// schedule sets when an order is checked next, and stores the message in place of the one that was stored for that; a zero
// time means no more checks. The caller stores the order.
func schedule(ctx context.Context, tx *sql.Tx, o *Order, at time.Time) error {
	if !o.CheckAt.IsZero() {
		if err := outbox.Cancel(ctx, tx, o.checkID()); err != nil && !errors.Is(err, leveret.NotFound) { // it may be on its way
			return err
		}
	}
	o.CheckAt = store.Moment(at)
	if at.IsZero() {
		return nil
	}
	return queues.CheckOrder.Send(ctx, outbox.In(tx), queues.CheckOrderCommand{OrderID: o.ID},
		leveret.AtTime(o.CheckAt), leveret.MessageID(o.checkID()))
}

func reschedule(ctx context.Context, tx *sql.Tx, o *Order, at time.Time) error {
	if err := schedule(ctx, tx, o, at); err != nil {
		return err
	}
	return update(ctx, tx, o)
}
