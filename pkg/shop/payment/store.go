package payment

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

//go:embed migrations
var migrations embed.FS

// A Store keeps payments and the ledger. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens a store, whose source is that of [store.Open]. The caller closes the store.
func OpenStore(ctx context.Context, source string) (*Store, error) {
	s, err := store.Open(ctx, source, migrations)
	if err != nil {
		return nil, fmt.Errorf("payment: %w", err)
	}
	return &Store{s}, nil
}

// Memories are what the store may forget: that an order was cancelled before it had a payment. Payments stay.
func (s *Store) Memories() []store.Memory {
	return []store.Memory{{Table: "cancelled_orders", At: "cancelled_at"}}
}

// Known returns what is known of the payment that r asks for: in [StateUnknown], the card has to be asked. It returns
// [store.ErrKeyReused] if the message in ctx has the id of a different request.
func (s *Store) Known(ctx context.Context, r queues.AuthorizePaymentRequest) (*Payment, error) {
	if _, _, err := store.FindKey(ctx, s.Reader(), key(ctx, r)); err != nil {
		return nil, err
	}
	return s.Find(ctx, r.OrderID)
}

// key is the id of the message in ctx, whatever transport brought it, as the idempotency key of r.
func key(ctx context.Context, r queues.AuthorizePaymentRequest) store.Key {
	return store.Key{Scope: queues.AuthorizePayment.Spec().Name, ID: store.MessageID(ctx), Request: r}
}

// Authorize stores the card's answer and returns the payment. If the order already has a payment, Authorize returns
// that one, whatever the card answered this time, or [ErrOther] if it differs from r. If the order has been cancelled,
// the payment is declined. It returns [store.ErrKeyReused] if the message in ctx has the id of a different request.
func (s *Store) Authorize(ctx context.Context, r queues.AuthorizePaymentRequest, declineReason string, now time.Time) (*Payment, error) {
	var p *Payment
	err := s.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := store.ClaimKey(ctx, tx, key(ctx, r), r.OrderID, now); err != nil {
			return err
		}
		var err error
		if p, err = find(ctx, tx, r.OrderID); err != nil {
			return err
		}
		e, reason := EventAccepted, declineReason
		if reason != "" {
			e = EventRefused
		}
		next, err := p.State.Next(e)
		if err != nil {
			return err
		}
		if next != p.State {
			if p.State == StateCancelled {
				reason = DeclineOrderCancelled
			}
			p, err = insert(ctx, tx, r, next, reason, now)
			return err
		}
		if p.Amount != r.Amount || p.CardToken != r.CardToken {
			return ErrOther
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// apply applies an event to the payment of an order in tx, moves the money, and returns the payment and whether that has
// changed it. It returns [ErrUnknown] if an order without a payment was placed, and [ErrContradiction] if total is not the
// authorised amount. A zero total is not compared.
func apply(ctx context.Context, tx *sql.Tx, orderID string, e Event, total queues.Money, now time.Time) (p *Payment, changed bool, err error) {
	p, err = find(ctx, tx, orderID)
	if err != nil {
		return nil, false, err
	}
	if total != (queues.Money{}) && p.Amount != (queues.Money{}) && total != p.Amount {
		return nil, false, fmt.Errorf("order %s for %d %s, authorized for %d %s: %w",
			e, total.Amount, total.Currency, p.Amount.Amount, p.Amount.Currency, ErrContradiction)
	}
	next, err := p.State.Next(e)
	if err != nil {
		return nil, false, fmt.Errorf("order %s while the payment is %s: %w", e, p.State, err)
	}
	if next == p.State {
		return p, false, nil
	}
	p.State = next
	if next == StateCancelled {
		return p, true, remember(ctx, tx, orderID, now)
	}
	switch at := store.Moment(now); next {
	case StateCaptured:
		p.CapturedAt = at
	case StateVoided:
		p.VoidedAt = at
	case StateRefunded:
		p.RefundedAt = at
	default:
	}
	if err := update(ctx, tx, p); err != nil {
		return nil, false, err
	}
	return p, true, book(ctx, tx, p, now)
}

// Find returns the payment for an order. Without one, its state is [StateUnknown] or [StateCancelled].
func (s *Store) Find(ctx context.Context, orderID string) (*Payment, error) {
	return find(ctx, s.Reader(), orderID)
}

func find(ctx context.Context, q store.Querier, orderID string) (*Payment, error) {
	p := Payment{OrderID: orderID}
	var decided, captured, voided, refunded sql.NullInt64
	err := q.QueryRowContext(ctx, `
		SELECT authorization_id, card_token, amount, currency, state, decline_reason, decided_at, captured_at, voided_at, refunded_at
		FROM payments WHERE order_id = $1`, orderID).
		Scan(&p.AuthorizationID, &p.CardToken, &p.Amount.Amount, &p.Amount.Currency, &p.State, &p.DeclineReason,
			&decided, &captured, &voided, &refunded)
	if errors.Is(err, sql.ErrNoRows) {
		return without(ctx, q, orderID)
	}
	if err != nil {
		return nil, fmt.Errorf("find the payment: %w", err)
	}
	p.DecidedAt, p.CapturedAt, p.VoidedAt, p.RefundedAt = store.Time(decided), store.Time(captured), store.Time(voided), store.Time(refunded)
	return &p, nil
}

// without returns what is known of an order that has no payment.
func without(ctx context.Context, q store.Querier, orderID string) (*Payment, error) {
	p := &Payment{OrderID: orderID, State: StateUnknown}
	var cancelled bool
	err := q.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM cancelled_orders WHERE order_id = $1)", orderID).Scan(&cancelled)
	if err != nil {
		return nil, fmt.Errorf("find the cancelled order: %w", err)
	}
	if cancelled {
		p.State = StateCancelled
	}
	return p, nil
}

// remember stores that an order was cancelled before it had a payment.
func remember(ctx context.Context, tx *sql.Tx, orderID string, now time.Time) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO cancelled_orders (order_id, cancelled_at) VALUES ($1, $2)", orderID, store.Micros(now))
	if err != nil {
		return fmt.Errorf("store the cancelled order: %w", err)
	}
	return nil
}

func insert(ctx context.Context, tx *sql.Tx, r queues.AuthorizePaymentRequest, s State, declineReason string, now time.Time) (*Payment, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an id: %w", err)
	}
	p := &Payment{
		OrderID: r.OrderID, AuthorizationID: id.String(), CardToken: r.CardToken, Amount: r.Amount,
		State: s, DeclineReason: declineReason, DecidedAt: store.Moment(now),
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO payments (order_id, authorization_id, card_token, amount, currency, state, decline_reason, decided_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		p.OrderID, p.AuthorizationID, p.CardToken, p.Amount.Amount, p.Amount.Currency, p.State, p.DeclineReason, store.Micros(p.DecidedAt))
	if err != nil {
		return nil, fmt.Errorf("store the payment: %w", err)
	}
	if p.State == StateDeclined {
		return p, nil
	}
	return p, book(ctx, tx, p, now)
}

func update(ctx context.Context, tx *sql.Tx, p *Payment) error {
	_, err := tx.ExecContext(ctx,
		"UPDATE payments SET state = $1, captured_at = $2, voided_at = $3, refunded_at = $4 WHERE order_id = $5",
		p.State, store.Micros(p.CapturedAt), store.Micros(p.VoidedAt), store.Micros(p.RefundedAt), p.OrderID)
	if err != nil {
		return fmt.Errorf("update the payment: %w", err)
	}
	return nil
}

// book appends the payment's latest change of state to the ledger.
func book(ctx context.Context, tx *sql.Tx, p *Payment, now time.Time) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO ledger (order_id, authorization_id, kind, amount, currency, message_id, at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		p.OrderID, p.AuthorizationID, p.State, p.Amount.Amount, p.Amount.Currency, store.MessageID(ctx), store.Micros(now))
	if err != nil {
		return fmt.Errorf("book: %w", err)
	}
	return nil
}
