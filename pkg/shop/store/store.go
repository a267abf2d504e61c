// Package store keeps the state of a shop service in a SQLite file: migrations, one writer at a time, a log of the
// messages that were handled, and idempotency keys.
//
// A committed transaction survives the death of the process at any moment, because the operating system holds the
// write-ahead log. With synchronous=NORMAL, a power failure may lose the last commits but never corrupts the file. A
// service that must not lose even those sets FULL and pays for an fsync per transaction.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite": pure Go

	"github.com/leveretmq/leveret/internal/trust"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Store is an open SQLite file. It is safe for concurrent use, and several processes may open the same file.
type Store struct {
	db      *sql.DB // one connection, which writes
	readers *sql.DB
	path    string
	file    fs.FileInfo // of path, when it was opened
	commits atomic.Int64
}

// Open opens the file at path, creating it and its folder if needed, and brings its tables up to date. The file and
// those that SQLite keeps beside it have the mode 0600, whatever they had before; a new folder has 0700. In a folder to
// which everyone may write, a file of another user is refused; a link is refused everywhere. The migrations are
// goose's, in files named migrations/NNNNN_what.sql; the tables of deliveries and of idempotency keys are created by
// Open itself. The caller closes the store.
func Open(ctx context.Context, path string, migrations fs.FS) (*Store, error) {
	if err := ownFiles(path); err != nil {
		return nil, fmt.Errorf("the store: %w", err)
	}
	// SQLite allows one writer at a time. With a single connection, writers in this process queue fairly, which SQLite's
	// busy handler does not guarantee; the busy handler serves only between processes. Readers have their own
	// connections, since they need not wait for any writer.
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
	readers, err := sql.Open("sqlite", source(path, url.Values{
		"_pragma": {"busy_timeout(10000)", "query_only(ON)"},
	}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the store %s: %w", path, err), db.Close())
	}
	readers.SetMaxOpenConns(maxReaders)
	opened, err := os.Stat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the store: %w", err), readers.Close(), db.Close())
	}
	return &Store{db: db, readers: readers, path: path, file: opened}, nil
}

// ownFiles creates the file and its folder, and makes the file this user's alone, since it may hold secrets. SQLite gives
// the files beside it the mode of the file; those that are there already could be another user's, and would be read.
func ownFiles(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("its folder: %w", err)
	}
	if err := trust.Create(path); err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if err := trust.Keep(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// maxReaders is how many connections read at once.
const maxReaders = 4

// Close checkpoints the write-ahead log and closes the file.
func (s *Store) Close() error { return errors.Join(s.readers.Close(), s.db.Close()) }

// Reader reads committed data without a lock. Do not base a write on what it returns; use InTx for that.
func (s *Store) Reader() Querier { return s.readers }

// InTx runs f in a transaction that holds the file's write lock from the start, so that whatever f reads stays true
// until its writes are committed. If f returns nil, InTx commits; otherwise it rolls back and returns f's error. A
// failure to lock or commit has the code Unavailable.
func (s *Store) InTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return leveret.Errorf(leveret.Unavailable, "the store: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no-op after a commit
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return leveret.Errorf(leveret.Unavailable, "the store: %w", err)
	}
	s.commits.Add(1)
	return nil
}

// migrate brings the tables up to date. Several processes may do so at once: those that lose the race try again, and
// find the work done. SQLite's busy handler does not make them wait while a new file gets its write-ahead log.
func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	for attempt := 1; ; attempt++ {
		if err = migrateOnce(ctx, db, files); err == nil || attempt == 10 || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(rand.N(100 * time.Millisecond)):
		case <-ctx.Done():
		}
	}
}

func migrateOnce(ctx context.Context, db *sql.DB, files fs.FS) error {
	if _, err := db.ExecContext(ctx, createDeliveries); err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	if _, err := db.ExecContext(ctx, createKeys); err != nil {
		return fmt.Errorf("idempotency keys: %w", err)
	}
	if _, err := db.ExecContext(ctx, createProbes); err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = p.Up(ctx)
	}
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}

func source(path string, query url.Values) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	return u.String()
}
