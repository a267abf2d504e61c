package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
)

// A Querier reads: a *sql.DB, a *sql.Tx or a *sql.Conn.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// View opens the file read-only and runs f on a single snapshot of it. It may be called while a worker has the file open;
// neither waits for the other. If the file does not exist, View returns an error and does not create it.
func View(ctx context.Context, path string, f func(q Querier) error) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	db, err := sql.Open("sqlite", source(path, url.Values{
		"mode":    {"ro"},
		"_pragma": {"busy_timeout(10000)", "query_only(ON)"},
	}))
	if err != nil {
		return fmt.Errorf("the store %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("the store %s: %w", path, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	if err := f(tx); err != nil {
		return fmt.Errorf("the store %s: %w", path, err)
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
