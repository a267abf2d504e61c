package inventory

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

//go:embed migrations
var migrations embed.FS

// A Store keeps the stock and the reservations. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens a store, whose source is that of [store.Open]. A new one has goods on the shelves. The caller closes
// the store.
func OpenStore(ctx context.Context, source string) (*Store, error) {
	s, err := store.Open(ctx, source, migrations)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return &Store{s}, nil
}

// reserve decides in tx whether the goods of an order can be set aside, sets them aside if so, and returns the decision. If
// the order was decided before, reserve returns that decision, or [ErrOther] if it was for different goods.
func reserve(ctx context.Context, tx *sql.Tx, q queues.ReserveStockCommand, now time.Time) (*Reservation, error) {
	r, err := find(ctx, tx, q.OrderID)
	if errors.Is(err, sql.ErrNoRows) {
		r, err = decide(ctx, tx, q, now)
	}
	if err != nil {
		return nil, err
	}
	if !r.matches(q) {
		return nil, ErrOther
	}
	return r, nil
}

// cancel makes sure in tx that nothing is set aside for an order, now or later, puts back what was, and returns the
// reservation.
func cancel(ctx context.Context, tx *sql.Tx, orderID string, now time.Time) (*Reservation, error) {
	r, err := find(ctx, tx, orderID)
	if errors.Is(err, sql.ErrNoRows) {
		r = &Reservation{OrderID: orderID, State: StateNone.Next(EventCancelled), DecidedAt: store.Moment(now)}
		return r, insert(ctx, tx, r)
	}
	if err != nil {
		return nil, err
	}
	next := r.State.Next(EventCancelled)
	if next == r.State {
		return r, nil
	}
	r.State, r.ReleasedAt = next, store.Moment(now)
	if err := move(ctx, tx, r, -1, r.ReleasedAt); err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE reservations SET state = $1, released_at = $2 WHERE order_id = $3",
		r.State, store.Micros(r.ReleasedAt), r.OrderID)
	if err != nil {
		return nil, fmt.Errorf("update the reservation: %w", err)
	}
	return r, nil
}

// Available returns the quantity of an article that is not set aside. It is zero for an unknown article.
func (s *Store) Available(ctx context.Context, sku string) (int64, error) {
	free, err := available(ctx, s.Reader(), []queues.StockLine{{SKU: sku}})
	return free[sku], err
}

// find returns sql.ErrNoRows if nothing was decided for the order.
func find(ctx context.Context, q store.Querier, orderID string) (*Reservation, error) {
	r := Reservation{OrderID: orderID}
	var lines, shortages string
	var decided, released sql.NullInt64
	err := q.QueryRowContext(ctx, "SELECT state, lines, shortages, decided_at, released_at FROM reservations WHERE order_id = $1", orderID).
		Scan(&r.State, &lines, &shortages, &decided, &released)
	if err != nil {
		return nil, fmt.Errorf("find the reservation: %w", err)
	}
	if err := errors.Join(json.Unmarshal([]byte(lines), &r.Lines), json.Unmarshal([]byte(shortages), &r.Shortages)); err != nil {
		return nil, leveret.Errorf(leveret.DataLoss, "the reservation of order %s: %w", orderID, err)
	}
	r.DecidedAt, r.ReleasedAt = store.Time(decided), store.Time(released)
	return &r, nil
}

func available(ctx context.Context, q store.Querier, lines []queues.StockLine) (map[string]int64, error) {
	free := make(map[string]int64, len(lines))
	for _, l := range lines {
		var n int64
		err := q.QueryRowContext(ctx, "SELECT on_hand - reserved FROM stock WHERE sku = $1", l.SKU).Scan(&n)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("read the stock: %w", err)
		}
		free[l.SKU] = n
	}
	return free, nil
}

func decide(ctx context.Context, tx *sql.Tx, q queues.ReserveStockCommand, now time.Time) (*Reservation, error) {
	free, err := available(ctx, tx, q.Lines)
	if err != nil {
		return nil, err
	}
	r := Decide(q, free, store.Moment(now))
	if r.State == StateReserved {
		if err := move(ctx, tx, &r, 1, r.DecidedAt); err != nil {
			return nil, err
		}
	}
	return &r, insert(ctx, tx, &r)
}

func insert(ctx context.Context, tx *sql.Tx, r *Reservation) error {
	lines, err := list(r.Lines)
	if err != nil {
		return fmt.Errorf("encode the lines: %w", err)
	}
	shortages, err := list(r.Shortages)
	if err != nil {
		return fmt.Errorf("encode the shortages: %w", err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO reservations (order_id, state, lines, shortages, decided_at) VALUES ($1, $2, $3, $4, $5)",
		r.OrderID, r.State, lines, shortages, store.Micros(r.DecidedAt))
	if err != nil {
		return fmt.Errorf("store the reservation: %w", err)
	}
	return nil
}

// list encodes a list as JSON; an empty one is [], not null.
func list[T any](all []T) (string, error) {
	if len(all) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(all)
	return string(b), err
}

// move moves the goods between the free and the reserved stock: 1 sets them aside, -1 puts them back.
func move(ctx context.Context, tx *sql.Tx, r *Reservation, direction int, at time.Time) error {
	for _, l := range r.Lines {
		quantity := direction * l.Quantity
		if _, err := tx.ExecContext(ctx, "UPDATE stock SET reserved = reserved + $1 WHERE sku = $2", quantity, l.SKU); err != nil {
			return fmt.Errorf("move the stock: %w", err)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO movements (order_id, sku, quantity, message_id, at) VALUES ($1, $2, $3, $4, $5)",
			r.OrderID, l.SKU, quantity, store.MessageID(ctx), store.Micros(at))
		if err != nil {
			return fmt.Errorf("record the movement: %w", err)
		}
	}
	return nil
}
