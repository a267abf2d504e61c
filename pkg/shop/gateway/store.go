package gateway

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

//go:embed migrations
var migrations embed.FS

// A Store remembers which orders the gateway has accepted, and under which keys. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens a store, whose source is that of [store.Open]. The caller closes the store.
func OpenStore(ctx context.Context, source string) (*Store, error) {
	s, err := store.Open(ctx, source, migrations)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return &Store{s}, nil
}

// Memories are what the store may forget: an accepted order is needed until the order service has stored it.
func (s *Store) Memories() []store.Memory {
	return []store.Memory{{Table: "accepted", At: "accepted_at"}}
}

// Claim returns the id of the order that a customer places under a key. If the customer has placed a different order
// under the key, the error is store.ErrKeyReused.
func (s *Store) Claim(ctx context.Context, customerID, key string, r PlaceOrderRequest, now time.Time) (id string, err error) {
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		claim := store.Key{Scope: "orders of " + customerID, ID: key, Request: r}
		if id, err = store.ClaimKey(ctx, tx, claim, orderID(customerID, key), now); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO accepted (order_id, customer_id, accepted_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
			id, customerID, store.Micros(now))
		if err != nil {
			return fmt.Errorf("store the order's id: %w", err)
		}
		return nil
	})
	return id, err
}

// Accepted reports whether the gateway has given a customer an order of this id.
func (s *Store) Accepted(ctx context.Context, customerID, orderID string) (bool, error) {
	var found int
	err := s.Reader().QueryRowContext(ctx, "SELECT 1 FROM accepted WHERE order_id = $1 AND customer_id = $2", orderID, customerID).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find the order: %w", err)
	}
	return true, nil
}
