package order

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// Check looks at an order that takes long. Half of its time limit after the order was stored, what others still owe an answer
// for is sent again, since they may have lost it. When the limit has passed, the order is closing: payment is asked to close
// it, as often as needed, and only its answer cancels the order. An order that was cancelled is announced once more, and
// payment is asked all the same, since it may have lost the event.
//
// Each order notes when its next check is, and a check that is not the one noted does nothing. So a message that comes again
// does no harm, and one that is lost is replaced by [Service.Run].
func (s *Service) Check(ctx context.Context, c queues.CheckOrderCommand) error {
	again, err := s.look(ctx, c.OrderID)
	if err != nil || !again {
		return err
	}
	unanswered := s.closePayment(ctx, c.OrderID)
	if unanswered != nil {
		s.config.Logger.WarnContext(ctx, "payment does not say that an order is closed, and is asked again", "order_id", c.OrderID, "error", unanswered)
	}
	return s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		o, err := noted(ctx, tx, c.OrderID)
		switch {
		case err != nil || o == nil:
			return err
		case unanswered != nil:
			return reschedule(ctx, tx, o, later(s.now(), o.CheckAt).Add(s.pause()))
		case o.Status.Final():
			if err := reschedule(ctx, tx, o, time.Time{}); err != nil {
				return err
			}
		default:
			if o, _, err = apply(ctx, tx, Update{OrderID: o.ID, Event: EventClosed}, s.now(), s.half()); err != nil {
				return err
			}
		}
		return announce(ctx, outbox.In(tx), o)
	})
}

// look is the first transaction of a check. It reports whether payment is to be asked about the order.
func (s *Service) look(ctx context.Context, orderID string) (ask bool, err error) {
	err = s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		ask = false
		o, err := noted(ctx, tx, orderID)
		if err != nil || o == nil {
			return err
		}
		switch limit := store.Moment(o.ReceivedAt.Add(s.config.TimeLimit)); o.Status.State {
		case StateConfirmed: // by version 0.1.0, which knows no checks
			return reschedule(ctx, tx, o, time.Time{})
		case StateClosing, StateCancelled:
		default:
			// The time for which the check was noted decides, not the clock: clocks of other processes may be minutes behind.
			if o.CheckAt.Before(limit) {
				if err := reschedule(ctx, tx, o, limit); err != nil {
					return err
				}
				return announceAgain(ctx, outbox.In(tx), o)
			}
			if _, _, err := apply(ctx, tx, Update{OrderID: orderID, Event: EventExpired}, s.now(), s.half()); err != nil {
				return err
			}
		}
		ask = true
		return nil
	})
	return ask, err
}

// closePayment asks payment to close an order. Any reply means that nothing is held or charged, in whichever state.
func (s *Service) closePayment(ctx context.Context, orderID string) error {
	reply, err := queues.ClosePayment.Call(ctx, s.caller, queues.ClosePaymentRequest{OrderID: orderID})
	if err == nil && reply.OrderID != orderID {
		err = leveret.Errorf(leveret.Internal, "the reply is for another order")
	}
	return err
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

// half is when an order that is not finished is looked at for the first time, how long after its cancellation that is
// announced once more, and by how much a check may be late before it counts as lost.
func (s *Service) half() time.Duration { return s.config.TimeLimit / 2 }

// pause is how long payment is left alone after it has not answered, and how often lost checks are looked for.
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
	if err != nil || o.CheckAt.IsZero() || o.checkID() != store.MessageID(ctx) {
		return nil, err
	}
	return o, nil
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

// Run counts the orders that are overdue, and replaces checks that were lost, until ctx ends. It then returns nil.
func (s *Service) Run(ctx context.Context) error {
	registration, err := s.observe()
	if err != nil {
		return err
	}
	defer func() { _ = registration.Unregister() }()
	tick := time.NewTicker(s.pause())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.replaceChecks(ctx); err != nil && ctx.Err() == nil {
				s.config.Logger.WarnContext(ctx, "look for orders whose checks were lost", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// observe reports how many orders are overdue: closing.
func (s *Service) observe() (metric.Registration, error) {
	m := s.config.MeterProvider.Meter("github.com/leveretmq/leveret/pkg/shop/order")
	overdue, err := m.Int64ObservableGauge("shop.orders.overdue", metric.WithUnit("{order}"),
		metric.WithDescription("Orders that are closing: their time is over, and payment has not said yet that nothing is held or charged."))
	if err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(ctx context.Context, to metric.Observer) error {
		var n int64
		if err := s.store.Reader().QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE state = 'closing'").Scan(&n); err != nil {
			return fmt.Errorf("count the orders that are overdue: %w", err)
		}
		to.ObserveInt64(overdue, n)
		return nil
	}, overdue)
}

// most is how many checks are replaced in one transaction.
const most = 100

// replaceChecks stores checks in place of those that are late by half of a time limit, and for unfinished orders that have
// none, as those of an older version. While checks wait for the broker, none is lost as far as is known.
func (s *Service) replaceChecks(ctx context.Context) error {
	for n := most; n == most; {
		err := s.outbox.InTx(ctx, func(tx *sql.Tx) error {
			n = 0
			late, err := s.lateChecks(ctx, tx)
			if err != nil {
				return err
			}
			for _, o := range late {
				if err := reschedule(ctx, tx, &o, s.now()); err != nil {
					return err
				}
			}
			n = len(late)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) lateChecks(ctx context.Context, tx *sql.Tx) ([]Order, error) {
	var waiting bool
	err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM leveret_outbox WHERE contract = $1 AND due_at = 0)", queues.CheckOrder.Spec().Name).Scan(&waiting)
	if err != nil || waiting {
		return nil, err
	}
	now := s.now()
	rows, err := tx.QueryContext(ctx, "SELECT "+columns+` FROM orders WHERE order_id IN (
			SELECT order_id FROM orders WHERE check_at < $1
			UNION ALL SELECT order_id FROM orders WHERE check_at IS NULL AND decided_at IS NULL AND received_at < $2)
		LIMIT $3`,
		store.Micros(now.Add(-s.half())), store.Micros(now.Add(-s.config.TimeLimit)), most)
	if err != nil {
		return nil, err
	}
	return store.Collect(rows, func(r *sql.Rows, o *Order) error { return scan(r, o) })
}
