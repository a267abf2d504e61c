package gateway

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/pkg/stream"
	"github.com/leveretmq/leveret/queues"
)

// HistoryProjection is the name of the projection that [NewHistory] makes.
const HistoryProjection = "customer-orders"

// NewHistory makes the projection from which [OrderHistory] is answered: the orders that were placed, by customer, with what
// became of them. It is built from the events that the order service publishes. These come from three streams, in any order
// and perhaps twice, so that each one sets what it knows, and nothing else.
func NewHistory(conn *leveret.Conn, s *Store, log *slog.Logger, meters metric.MeterProvider) *stream.Projection {
	p := stream.NewProjection(conn, queues.Gateway, stream.ProjectionConfig{
		Name: HistoryProjection, From: stream.First(), InTx: s.InTx, Empty: emptyHistory, Logger: log, MeterProvider: meters,
	})
	stream.On(p, queues.OrderPlaced, historyPlaced)
	stream.On(p, queues.OrderConfirmed, func(ctx context.Context, tx *sql.Tx, e stream.EventOf[queues.OrderConfirmedEvent]) error {
		return historyDecided(ctx, tx, e.Payload.OrderID, "confirmed", "", store.Micros(e.Payload.ConfirmedAt))
	})
	stream.On(p, queues.OrderCancelled, func(ctx context.Context, tx *sql.Tx, e stream.EventOf[queues.OrderCancelledEvent]) error {
		return historyDecided(ctx, tx, e.Payload.OrderID, "cancelled", e.Payload.Reason, store.Micros(e.Payload.CancelledAt))
	})
	return p
}

func emptyHistory(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM order_history")
	return err
}

func historyPlaced(ctx context.Context, tx *sql.Tx, e stream.EventOf[queues.OrderPlacedEvent]) error {
	o := e.Payload
	lines, err := json.Marshal(o.Lines)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO order_history (order_id, customer_id, lines, total, currency, placed_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, lines = excluded.lines, total = excluded.total,
			currency = excluded.currency, placed_at = excluded.placed_at`,
		o.OrderID, o.CustomerID, string(lines), o.Total.Amount, o.Total.Currency, store.Micros(o.PlacedAt))
	return err
}

// historyDecided may come before the order itself: then nobody sees it yet, since it has no customer.
func historyDecided(ctx context.Context, tx *sql.Tx, orderID, state, reason string, at sql.NullInt64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO order_history (order_id, state, reason, decided_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, reason = excluded.reason, decided_at = excluded.decided_at`,
		orderID, state, reason, at)
	return err
}

// History returns a page of the customer's orders, as far as the gateway has heard of them.
func (s *Service) History(ctx context.Context, r ListRequest) (Orders, error) {
	customerID, err := customer(ctx)
	if err != nil {
		return Orders{}, err
	}
	after, err := parsePlace(r.Cursor)
	if err != nil {
		return Orders{}, err
	}
	limit := cmp.Or(r.Limit, queues.DefaultPage)
	found, err := s.store.history(ctx, customerID, after, limit+1)
	if err != nil {
		return Orders{}, err
	}
	page := Orders{Orders: make([]Order, min(len(found), limit))}
	for i := range page.Orders {
		page.Orders[i] = found[i].Order
	}
	if len(found) > limit {
		page.NextCursor = found[limit-1].place().String()
	}
	return page, nil
}

// placedOrder is a row of the history.
type placedOrder struct {
	Order

	placedAt int64
}

func (o placedOrder) place() place { return place{o.placedAt, o.OrderID} }

// history returns at most limit orders of a customer that come after a place, newest first.
func (s *Store) history(ctx context.Context, customerID string, after place, limit int) ([]placedOrder, error) {
	rows, err := s.Reader().QueryContext(ctx, `SELECT order_id, state, reason, lines, total, currency, placed_at, decided_at FROM order_history
		WHERE customer_id = $1 AND (placed_at, order_id) < ($2, $3) ORDER BY placed_at DESC, order_id DESC LIMIT $4`,
		customerID, after.placedAt, after.orderID, limit)
	if err != nil {
		return nil, fmt.Errorf("list the orders: %w", err)
	}
	return store.Collect(rows, func(r *sql.Rows, o *placedOrder) error {
		var lines string
		var decided sql.NullInt64
		o.Total = &queues.Money{}
		if err := r.Scan(&o.OrderID, &o.State, &o.Reason, &lines, &o.Total.Amount, &o.Total.Currency, &o.placedAt, &decided); err != nil {
			return err
		}
		if at := store.Time(decided); !at.IsZero() {
			o.DecidedAt = &at
		}
		return json.Unmarshal([]byte(lines), &o.Lines)
	})
}

// A place is a place in a customer's history, newest first. That of an order never changes, so that new orders do not shift
// the pages that follow.
type place struct {
	placedAt int64 // in microseconds
	orderID  string
}

// String returns the place as clients see it, who are not meant to read it.
func (p place) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.placedAt, 10) + " " + p.orderID))
}

// parsePlace is the inverse of String. An empty text is the place before all orders.
func parsePlace(text string) (place, error) {
	if text == "" {
		return place{placedAt: math.MaxInt64}, nil
	}
	decoded, _ := base64.RawURLEncoding.DecodeString(text)
	placed, id, _ := strings.Cut(string(decoded), " ")
	at, err := strconv.ParseInt(placed, 10, 64)
	p := place{at, id}
	if u, invalid := uuid.Parse(id); err != nil || invalid != nil || u.String() != id || p.String() != text {
		const detail = "must be the next_cursor of an earlier page"
		return place{}, &leveret.Error{
			Code: leveret.InvalidArgument, Message: "cursor: " + detail,
			Fields: []leveret.FieldViolation{{Field: "cursor", Detail: detail}},
		}
	}
	return p, nil
}
