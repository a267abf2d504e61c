package notify

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

//go:embed migrations
var migrations embed.FS

// A Store keeps the notices. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens a store, whose source is that of [store.Open]. The caller closes the store.
func OpenStore(ctx context.Context, source string) (*Store, error) {
	s, err := store.Open(ctx, source, migrations)
	if err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	return &Store{s}, nil
}

// Add stores a notice and reports whether it is new: the customer was not notified of this event of this order before, whatever
// message has announced it.
func (s *Store) Add(ctx context.Context, n Notice, now time.Time) (added bool, err error) {
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `
			INSERT INTO notices (message_id, about, order_id, text, at)
			SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM notices WHERE order_id = $3 AND about = $2)`,
			store.MessageID(ctx), n.About, n.OrderID, n.Text, store.Micros(now))
		if err != nil {
			return fmt.Errorf("store the notice: %w", err)
		}
		rows, err := result.RowsAffected()
		added = rows == 1
		return err
	})
	return added && err == nil, err
}

// ReadNotices reads the notices in a store, whose source is that of [store.View], oldest first. It writes nothing and
// does not block a worker that has the store open.
func ReadNotices(ctx context.Context, source string) (all []Notice, err error) {
	err = store.View(ctx, source, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT order_id, about, text FROM notices ORDER BY at, message_id, about, order_id")
		if err != nil {
			return err
		}
		all, err = store.Collect(rows, func(r *sql.Rows, n *Notice) error { return r.Scan(&n.OrderID, &n.About, &n.Text) })
		return err
	})
	return all, err
}
