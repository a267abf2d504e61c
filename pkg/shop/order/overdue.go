package order

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

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

// observe reports how many orders are overdue.
func (s *Service) observe() (metric.Registration, error) {
	m := s.config.MeterProvider.Meter("github.com/leveretmq/leveret/pkg/shop/order")
	overdue, err := m.Int64ObservableGauge("shop.orders.overdue", metric.WithUnit("{order}"),
		metric.WithDescription("Orders that are closing, because payment has not said yet that nothing is held or charged; and others that are not finished and whose check is late."))
	if err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(ctx context.Context, to metric.Observer) error {
		n, err := s.overdue(ctx)
		if err != nil {
			return fmt.Errorf("count the orders that are overdue: %w", err)
		}
		to.ObserveInt64(overdue, n)
		return nil
	}, overdue)
}

// overdue counts the orders that are closing, and those that are neither that nor finished though their check is late: the
// checks do not arrive.
func (s *Service) overdue(ctx context.Context) (n int64, err error) {
	now, err := s.store.Now(ctx, s.store.Reader())
	if err != nil {
		return 0, err
	}
	err = s.store.Reader().QueryRowContext(ctx, `SELECT (SELECT count(*) FROM orders WHERE state = 'closing')
		+ (SELECT count(*) FROM orders WHERE check_at < $1 AND decided_at IS NULL AND state <> 'closing')`,
		store.Micros(now.Add(-s.pause()))).Scan(&n)
	return n, err
}

// most is how many checks are replaced in one transaction.
const most = 100

// Which orders get another check; $1 is half of a time limit ago, $2 how many at most.
const (
	// lost: their check is late, or they have none, as those of version 0.1.0.
	lost = `SELECT order_id, check_at FROM orders WHERE check_at < $1
		UNION ALL SELECT order_id, check_at FROM orders WHERE check_at IS NULL AND decided_at IS NULL AND received_at < $1 LIMIT $2`
	// unsure: version 0.1.0 has cancelled them, and may not have announced that, or in vain.
	unsure = "SELECT order_id, check_at FROM orders WHERE check_at IS NULL AND state = 'cancelled' AND decided_by <> '' AND decided_at < $1 LIMIT $2"
)

// replaceChecks stores checks in place of those that were lost, and for orders of an older version, which have none. While
// checks wait for the broker, none is lost as far as is known. Of orders that were cancelled long ago there may be many, and
// nobody waits for them: each time some are checked.
func (s *Service) replaceChecks(ctx context.Context) error {
	now, err := s.store.Now(ctx, s.store.Reader())
	if err != nil {
		return err
	}
	var waiting bool
	err = s.store.Reader().QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM leveret_outbox WHERE contract = $1 AND due_at = 0 AND since < $2)",
		queues.CheckOrder.Spec().Name, store.Micros(now.Add(-s.pause()))).Scan(&waiting)
	if err != nil || waiting {
		return err
	}
	for n := most; n == most; {
		if n, err = s.recheck(ctx, lost, now); err != nil {
			return err
		}
	}
	_, err = s.recheck(ctx, unsure, now)
	return err
}

// recheck has some of the orders that a query finds checked now, and returns how many. It reads no more of an order than it needs,
// so one that cannot be read does not keep others from being checked.
func (s *Service) recheck(ctx context.Context, query string, now time.Time) (n int, err error) {
	err = s.outbox.InTx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, store.Micros(now.Add(-s.half())), most)
		if err != nil {
			return err
		}
		found, err := store.Collect(rows, func(r *sql.Rows, o *Order) error {
			var check sql.NullInt64
			err := r.Scan(&o.ID, &check)
			o.CheckAt = store.Time(check)
			return err
		})
		if err != nil {
			return err
		}
		for _, o := range found {
			if err := schedule(ctx, tx, &o, now); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "UPDATE orders SET check_at = $1 WHERE order_id = $2", store.Micros(o.CheckAt), o.ID); err != nil {
				return fmt.Errorf("note the check: %w", err)
			}
		}
		n = len(found)
		return nil
	})
	return n, err
}
