package order

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// List returns a page of a customer's orders, newest first.
func (s *Service) List(ctx context.Context, q queues.ListOrdersRequest) (queues.ListOrdersReply, error) {
	before, err := parseCursor(q.Cursor)
	if err != nil {
		return queues.ListOrdersReply{}, err
	}
	limit := cmp.Or(q.Limit, queues.DefaultPage)
	orders, err := s.store.List(ctx, q.CustomerID, before, limit+1)
	if err != nil {
		return queues.ListOrdersReply{}, err
	}
	page := queues.ListOrdersReply{Orders: make([]queues.ShowOrderReply, min(len(orders), limit))}
	for i := range page.Orders {
		page.Orders[i] = orders[i].status()
	}
	if len(orders) > limit {
		page.NextCursor = cursorAt(&orders[limit-1]).String()
	}
	return page, nil
}

// List returns at most limit orders of a customer that come after a position, newest first.
func (s *Store) List(ctx context.Context, customerID string, after cursor, limit int) ([]Order, error) {
	rows, err := s.Reader().QueryContext(ctx, "SELECT "+columns+` FROM orders
		WHERE customer_id = $1 AND (received_at, order_id) < ($2, $3) ORDER BY received_at DESC, order_id DESC LIMIT $4`,
		customerID, after.receivedAt, after.orderID, limit)
	if err != nil {
		return nil, fmt.Errorf("list the orders: %w", err)
	}
	return store.Collect(rows, func(r *sql.Rows, o *Order) error { return scan(r, o) })
}

// A cursor is a position in a list of orders, newest first. An order's position never changes, so that new orders do
// not shift the pages after a cursor.
type cursor struct {
	receivedAt int64 // in microseconds, as stored
	orderID    string
}

func cursorAt(o *Order) cursor { return cursor{store.Micros(o.ReceivedAt).Int64, o.ID} }

// String returns the cursor as clients see it, who are not meant to read it.
func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.receivedAt, 10) + " " + c.orderID))
}

// parseCursor is the inverse of String. An empty text is the position before all orders.
func parseCursor(text string) (cursor, error) {
	if text == "" {
		return cursor{receivedAt: math.MaxInt64}, nil
	}
	decoded, _ := base64.RawURLEncoding.DecodeString(text)
	received, id, _ := strings.Cut(string(decoded), " ")
	at, err := strconv.ParseInt(received, 10, 64)
	c := cursor{at, id}
	if u, invalid := uuid.Parse(id); err != nil || invalid != nil || u.String() != id || c.String() != text {
		const detail = "must be the next_cursor of an earlier page"
		return cursor{}, &leveret.Error{
			Code: leveret.InvalidArgument, Message: "cursor: " + detail,
			Fields: []leveret.FieldViolation{{Field: "cursor", Detail: detail}},
		}
	}
	return c, nil
}
