// Package store is what the services of the shop keep their state in: a SQLite file each, with its migrations, one
// writer at a time, and a log of the messages that were handled.
//
// A committed transaction survives the death of the process at any moment: it is in the write-ahead log, which the
// operating system holds. synchronous=NORMAL gives up one thing, that the last commits survive a loss of power too: they
// may be gone then, the file is sound all the same. A service that must not even lose those sets FULL, and pays an fsync
// for every transaction.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite": pure Go

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Store is an open SQLite file. It is safe for concurrent use, also by several processes of one service.
type Store struct {
	db *sql.DB
}

// Open opens the file, makes it and its folder where they do not exist, and brings its tables up to date with the
// migrations, which are goose's, in files named NNNNN_what.sql. The caller closes the store.
func Open(ctx context.Context, path string, migrations fs.FS) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("the store's folder: %w", err)
	}
	// One connection: SQLite has one writer at a time, and waiting in a queue of ours is fair where its busy handler is
	// not. Between processes the busy handler it is.
	db, err := sql.Open("sqlite", source(path, url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)", "cache_size(-16000)"},
	}))
	if err != nil {
		return nil, fmt.Errorf("the store %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("the store %s: %w", path, err), db.Close())
	}
	return &Store{db}, nil
}

// Close writes what the write-ahead log holds into the file and closes it.
func (s *Store) Close() error { return s.db.Close() }

// Ping reports whether the file can be read. It is a readiness check.
func (s *Store) Ping(ctx context.Context) error {
	var n int
	if err := s.db.QueryRowContext(ctx, "SELECT 1 FROM sqlite_master LIMIT 1").Scan(&n); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	return nil
}

// Reader reads what is committed, without a lock: for questions whose answer nothing is built on.
func (s *Store) Reader() Querier { return s.db }

// InTx runs f in a transaction, which holds the file's write lock from its start: what f reads stays true until its
// writes are committed. It commits if f returns nil, and returns what f returned otherwise. A lock or a disk that fails
// is Unavailable.
func (s *Store) InTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return leveret.Errorf(leveret.Unavailable, "the store: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return leveret.Errorf(leveret.Unavailable, "the store: %w", err)
	}
	return nil
}

// migrate brings the tables up to date. Several processes may do so at once: the loser of the race finds it done.
func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	for attempt := 1; ; attempt++ {
		p, err := goose.NewProvider(goose.DialectSQLite3, db, migrations, goose.WithDisableGlobalRegistry(true))
		if err != nil {
			return fmt.Errorf("migrations: %w", err)
		}
		if _, err = p.Up(ctx); err == nil {
			return nil
		}
		if attempt == 5 || ctx.Err() != nil {
			return fmt.Errorf("migrations: %w", err)
		}
	}
}

func source(path string, query url.Values) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	return u.String()
}
