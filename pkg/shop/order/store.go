package order

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

// Errors of looking up and placing orders.
var (
	ErrUnknown = leveret.NewError(leveret.NotFound, "order_unknown", "no such order")
	ErrOther   = leveret.NewError(leveret.AlreadyExists, "order_exists", "another order has this order_id")
)

// A Store keeps orders. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens a store, whose source is that of [store.Open]. The caller closes the store.
func OpenStore(ctx context.Context, source string) (*Store, error) {
	s, err := store.Open(ctx, source, migrations)
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	return &Store{s}, nil
}

// Place stores a new order as pending, with its first check after a time, and returns it. If the order already exists, Place
// returns it unchanged, or [ErrOther] if it differs from r.
func (s *Store) Place(ctx context.Context, r queues.PlaceOrderCommand, now time.Time, check time.Duration) (*Order, error) {
	var o *Order
	err := s.InTx(ctx, func(tx *sql.Tx) error {
		var err error
		o, err = find(ctx, tx, r.OrderID)
		if errors.Is(err, ErrUnknown) {
			o, err = insert(ctx, tx, r, now, check)
		}
		if err != nil {
			return err
		}
		if !o.matches(r) {
			return ErrOther
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// An Update is an event together with the order that it happened to.
type Update struct {
	OrderID string
	Event   Event
	// Amount is the amount captured. It is set for EventCaptured only.
	Amount queues.Money
	// AuthorizationID is set for EventAuthorized only.
	AuthorizationID string
}

// apply applies an update to its order in tx, and returns the order and whether that has changed its status. An order that is
// confirmed thereby needs no more checks; one that is cancelled gets one after a time. It returns [ErrEarly] if the order does
// not exist.
func apply(ctx context.Context, tx *sql.Tx, u Update, now time.Time, check time.Duration) (o *Order, changed bool, err error) {
	if o, err = find(ctx, tx, u.OrderID); errors.Is(err, ErrUnknown) {
		return nil, false, fmt.Errorf("%s: %w", u.Event, ErrEarly)
	} else if err != nil {
		return nil, false, err
	}
	if u.Amount != (queues.Money{}) && u.Amount != o.Total {
		return nil, false, fmt.Errorf("%s %d %s instead of %d %s: %w",
			u.Event, u.Amount.Amount, u.Amount.Currency, o.Total.Amount, o.Total.Currency, ErrContradiction)
	}
	next, err := o.Status.Next(u.Event)
	if err != nil {
		return nil, false, fmt.Errorf("%s while the order is %s: %w", u.Event, o.Status, err)
	}
	if next == o.Status {
		return o, false, nil
	}
	o.Status = next
	switch next.State {
	case StatePlaced:
		o.PlacedAt, o.AuthorizationID = store.Moment(now), u.AuthorizationID
	case StateConfirmed:
		o.DecidedAt = store.Moment(now)
		err = schedule(ctx, tx, o, time.Time{})
	case StateCancelled:
		o.DecidedAt, o.RepeatedAt = store.Moment(now), time.Time{}
		err = schedule(ctx, tx, o, now.Add(check))
	default:
	}
	if err != nil {
		return nil, false, err
	}
	return o, true, update(ctx, tx, o)
}

// Find returns the order of a customer, or [ErrUnknown] if the customer has no such order.
func (s *Store) Find(ctx context.Context, id, customerID string) (*Order, error) {
	o, err := find(ctx, s.Reader(), id)
	if err == nil && o.CustomerID != customerID {
		return nil, ErrUnknown
	}
	return o, err
}

// columns are what scan scans.
const columns = `order_id, customer_id, card_token, lines, total, currency, state, reason, authorization_id,
	sent_at, received_at, placed_at, placed_by, decided_at, decided_by, check_at, repeated_at`

func find(ctx context.Context, q store.Querier, id string) (*Order, error) {
	var o Order
	err := scan(q.QueryRowContext(ctx, "SELECT "+columns+" FROM orders WHERE order_id = $1", id), &o)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("find the order: %w", err)
	}
	return &o, nil
}

func scan(row interface{ Scan(dest ...any) error }, o *Order) error {
	var lines string
	var sent, received, placed, decided, check, repeated sql.NullInt64
	err := row.Scan(&o.ID, &o.CustomerID, &o.CardToken, &lines, &o.Total.Amount, &o.Total.Currency, &o.Status.State, &o.Status.Reason,
		&o.AuthorizationID, &sent, &received, &placed, &o.PlacedBy, &decided, &o.DecidedBy, &check, &repeated)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(lines), &o.Lines); err != nil {
		return leveret.Errorf(leveret.DataLoss, "the lines of order %s: %w", o.ID, err)
	}
	o.SentAt, o.ReceivedAt, o.PlacedAt, o.DecidedAt = store.Time(sent), store.Time(received), store.Time(placed), store.Time(decided)
	o.CheckAt, o.RepeatedAt = store.Time(check), store.Time(repeated)
	return nil
}

func insert(ctx context.Context, tx *sql.Tx, r queues.PlaceOrderCommand, now time.Time, check time.Duration) (*Order, error) {
	o := &Order{
		ID: r.OrderID, CustomerID: r.CustomerID, CardToken: r.CardToken, Lines: r.Lines, Total: r.Total(),
		Status: Status{State: StatePending}, ReceivedAt: store.Moment(now),
	}
	if m := leveret.MessageFrom(ctx); m != nil {
		o.SentAt = store.Moment(m.SentAt)
	}
	lines, err := json.Marshal(o.Lines)
	if err != nil {
		return nil, fmt.Errorf("encode the lines: %w", err)
	}
	if err := schedule(ctx, tx, o, now.Add(check)); err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO orders (order_id, customer_id, card_token, lines, total, currency, state, sent_at, received_at, check_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		o.ID, o.CustomerID, o.CardToken, string(lines), o.Total.Amount, o.Total.Currency, o.Status.State,
		store.Micros(o.SentAt), store.Micros(o.ReceivedAt), store.Micros(o.CheckAt))
	if err != nil {
		return nil, fmt.Errorf("store the order: %w", err)
	}
	return o, nil
}

func update(ctx context.Context, tx *sql.Tx, o *Order) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE orders SET state = $1, reason = $2, authorization_id = $3, placed_at = $4, decided_at = $5, decided_by = $6,
			check_at = $7, repeated_at = $8
		WHERE order_id = $9`,
		o.Status.State, o.Status.Reason, o.AuthorizationID, store.Micros(o.PlacedAt), store.Micros(o.DecidedAt), o.DecidedBy,
		store.Micros(o.CheckAt), store.Micros(o.RepeatedAt), o.ID)
	if err != nil {
		return fmt.Errorf("update the order: %w", err)
	}
	return nil
}
