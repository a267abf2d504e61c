package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"
)

// A Memory is a table of things that a service remembers for a while, so that it handles a repeated message as it did
// before. What a service must never forget, such as an order, a payment or an entry of a ledger, is none.
type Memory struct {
	// Table is the table's name, and At its column of the time from which on the rows are remembered.
	Table, At string
}

// memories are those of every store.
func memories() []Memory {
	return []Memory{{"idempotency_keys", "used_at"}}
}

// How often Forget works, and how many rows it removes in one transaction, between which others can write.
const (
	forgetEvery = time.Minute
	forgotten   = 500
)

// Forget removes what was remembered for longer than retention, from every store's own memories and from these, now and
// then until ctx ends. It then returns nil.
func (s *Store) Forget(ctx context.Context, log *slog.Logger, retention time.Duration, more ...Memory) error {
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		if err := s.ForgetBefore(ctx, time.Now().Add(-retention), more...); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "the store keeps what it should forget", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// ForgetBefore removes what was remembered before a time, in small transactions.
func (s *Store) ForgetBefore(ctx context.Context, before time.Time, more ...Memory) error {
	for _, m := range append(memories(), more...) {
		for {
			n, err := s.forget(ctx, m, before)
			if err != nil {
				return err
			}
			if n < forgotten {
				break
			}
		}
	}
	return nil
}

func (s *Store) forget(ctx context.Context, m Memory, before time.Time) (n int64, err error) {
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		var last sql.NullInt64 // the time of the last one of this batch
		err := tx.QueryRowContext(ctx, "SELECT max("+m.At+") FROM (SELECT "+m.At+" FROM "+m.Table+" WHERE "+m.At+" < $1 ORDER BY "+m.At+" LIMIT $2) AS oldest",
			Micros(before), forgotten).Scan(&last)
		if err != nil || !last.Valid {
			return err
		}
		r, err := tx.ExecContext(ctx, "DELETE FROM "+m.Table+" WHERE "+m.At+" <= $1", last) //nolint:gosec // the names are the code's
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget %s: %w", m.Table, err)
	}
	return n, nil
}
