package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A Querier reads: a *sql.DB, a *sql.Tx or a *sql.Conn.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// View runs f on a single snapshot of a store that it opens read-only. The source is that of [Open]. View may be called
// while a worker has the store open; neither waits for the other. If the store does not exist, View returns an error
// and does not create it.
func View(ctx context.Context, source string, f func(q Querier) error) (err error) {
	k := kindOf(source)
	db, err := k.view()
	if err != nil {
		return fmt.Errorf("the store %s: %w", k, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: k.snapshot(), ReadOnly: true})
	if err != nil {
		return fmt.Errorf("the store %s: %w", k, k.coded(err))
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	if err := f(tx); err != nil {
		return fmt.Errorf("the store %s: %w", k, k.coded(ended(ctx, err)))
	}
	return nil
}

// Collect scans and closes rows.
func Collect[T any](rows *sql.Rows, scan func(*sql.Rows, *T) error) (all []T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
