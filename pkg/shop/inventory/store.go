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

//go:embed migrations/*.sql
var migrations embed.FS

// A Store keeps the stock and the reservations. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens the SQLite file at path. If it does not exist, OpenStore creates it with goods on the shelves. The
// caller closes the store.
func OpenStore(ctx context.Context, path string) (*Store, error) {
	s, err := store.Open(ctx, path, migrations)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return &Store{s}, nil
}

// Reserve decides whether the goods of an order can be set aside, sets them aside if so, and returns the decision. If
// the order was decided before, Reserve returns that decision, or [ErrOther] if it was for different goods.
func (s *Store) Reserve(ctx context.Context, q queues.ReserveStockCommand, now time.Time) (*Reservation, error) {
	var r *Reservation
	err := s.InTx(ctx, func(tx *sql.Tx) error {
		if err := store.RecordDelivery(ctx, tx, now); err != nil {
			return err
		}
		var err error
		if r, err = find(ctx, tx, q.OrderID); errors.Is(err, sql.ErrNoRows) {
			r, err = decide(ctx, tx, q, now)
		}
		if err != nil {
			return err
		}
		if !r.matches(q) {
			return ErrOther
		}
		return nil
	})
	if err != nil {
		return nil, err
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
	var decided sql.NullInt64
	err := q.QueryRowContext(ctx, "SELECT lines, shortages, decided_at FROM reservations WHERE order_id = ?", orderID).
		Scan(&lines, &shortages, &decided)
	if err != nil {
		return nil, fmt.Errorf("find the reservation: %w", err)
	}
	if err := errors.Join(json.Unmarshal([]byte(lines), &r.Lines), json.Unmarshal([]byte(shortages), &r.Shortages)); err != nil {
		return nil, leveret.Errorf(leveret.DataLoss, "the reservation of order %s: %w", orderID, err)
	}
	r.DecidedAt = store.Time(decided)
	return &r, nil
}

func available(ctx context.Context, q store.Querier, lines []queues.StockLine) (map[string]int64, error) {
	free := make(map[string]int64, len(lines))
	for _, l := range lines {
		var n int64
		err := q.QueryRowContext(ctx, "SELECT on_hand - reserved FROM stock WHERE sku = ?", l.SKU).Scan(&n)
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
	if !r.Rejected() {
		if err := take(ctx, tx, &r); err != nil {
			return nil, err
		}
	}
	lines, err := json.Marshal(r.Lines)
	if err != nil {
		return nil, fmt.Errorf("encode the lines: %w", err)
	}
	shortages := []byte("[]")
	if r.Rejected() {
		if shortages, err = json.Marshal(r.Shortages); err != nil {
			return nil, fmt.Errorf("encode the shortages: %w", err)
		}
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO reservations (order_id, lines, shortages, decided_at) VALUES (?, ?, ?, ?)",
		r.OrderID, string(lines), string(shortages), store.Micros(r.DecidedAt))
	if err != nil {
		return nil, fmt.Errorf("store the reservation: %w", err)
	}
	return &r, nil
}

// take moves the goods from the free stock to the reserved stock.
func take(ctx context.Context, tx *sql.Tx, r *Reservation) error {
	for _, l := range r.Lines {
		if _, err := tx.ExecContext(ctx, "UPDATE stock SET reserved = reserved + ? WHERE sku = ?", l.Quantity, l.SKU); err != nil {
			return fmt.Errorf("take from the stock: %w", err)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO movements (order_id, sku, quantity, message_id, at) VALUES (?, ?, ?, ?, ?)",
			r.OrderID, l.SKU, l.Quantity, store.MessageID(ctx), store.Micros(r.DecidedAt))
		if err != nil {
			return fmt.Errorf("record the movement: %w", err)
		}
	}
	return nil
}
