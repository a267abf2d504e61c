package payment

import (
	"context"
	"database/sql"
	"time"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// An Audit is the content of the payment service's store, for checking the system from outside.
type Audit struct {
	Payments []AuditedPayment `json:"payments"`
	Ledger   []Entry          `json:"ledger"`
	// Unsent counts the messages in the outbox, but for those that are for later.
	Unsent int `json:"unsent"`
}

// An AuditedPayment is one payment in an audit.
type AuditedPayment struct {
	OrderID       string `json:"order_id"`
	State         State  `json:"state"`
	DeclineReason string `json:"decline_reason,omitempty"`
	Amount        int64  `json:"amount"`
	Currency      string `json:"currency"`
}

// An Entry is a row of the ledger.
type Entry struct {
	OrderID string `json:"order_id"`
	// Kind is authorized, captured, voided or refunded.
	Kind      State     `json:"kind"`
	Amount    int64     `json:"amount"`
	Currency  string    `json:"currency"`
	MessageID string    `json:"message_id"`
	At        time.Time `json:"at"`
}

// An Account is the sum of the ledger entries of one order.
type Account struct {
	Authorized, Captured, Voided, Refunded int   // how often
	Held, Charged, Returned                int64 // how much: authorised, captured, refunded
}

// Accounts adds up the raw ledger entries by order, and looks at nothing else. If Captured is above one, the customer
// was charged twice.
func (a Audit) Accounts() map[string]Account {
	accounts := make(map[string]Account, len(a.Payments))
	for _, e := range a.Ledger {
		x := accounts[e.OrderID]
		switch e.Kind {
		case StateAuthorized:
			x.Authorized++
			x.Held += e.Amount
		case StateCaptured:
			x.Captured++
			x.Charged += e.Amount
		case StateVoided:
			x.Voided++
		case StateRefunded:
			x.Refunded++
			x.Returned += e.Amount
		default:
		}
		accounts[e.OrderID] = x
	}
	return accounts
}

// ReadAudit reads a store, whose source is that of [store.View]. It writes nothing and does not block a worker that
// has the store open.
func ReadAudit(ctx context.Context, source string) (Audit, error) {
	var a Audit
	err := store.View(ctx, source, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT order_id, state, decline_reason, amount, currency FROM payments ORDER BY order_id")
		if err != nil {
			return err
		}
		a.Payments, err = store.Collect(rows, func(r *sql.Rows, p *AuditedPayment) error {
			return r.Scan(&p.OrderID, &p.State, &p.DeclineReason, &p.Amount, &p.Currency)
		})
		if err != nil {
			return err
		}
		rows, err = q.QueryContext(ctx, "SELECT order_id, kind, amount, currency, message_id, at FROM ledger ORDER BY id")
		if err != nil {
			return err
		}
		a.Ledger, err = store.Collect(rows, func(r *sql.Rows, e *Entry) error {
			var at sql.NullInt64
			if err := r.Scan(&e.OrderID, &e.Kind, &e.Amount, &e.Currency, &e.MessageID, &at); err != nil {
				return err
			}
			e.At = store.Time(at)
			return nil
		})
		if err != nil {
			return err
		}
		a.Unsent, err = store.Unsent(ctx, q)
		return err
	})
	return a, err
}
