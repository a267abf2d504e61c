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
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite": pure Go

	"github.com/leveretmq/leveret/internal/trust"
)

// sqlite is a SQLite file.
type sqlite struct {
	path string
	file fs.FileInfo // of path, when it was opened
}

// sqliteTables are the store's own tables. That of probes is empty but for the moment of a probe.
const sqliteTables = `
CREATE TABLE IF NOT EXISTS idempotency_keys (
    scope   TEXT NOT NULL,
    key     TEXT NOT NULL,
    request TEXT NOT NULL, -- a hash
    result  TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON idempotency_keys (used_at);

CREATE TABLE IF NOT EXISTS probes (id INTEGER PRIMARY KEY, room BLOB NOT NULL) STRICT;`

// maxReaders is how many connections read a file, or a schema, at once.
const maxReaders = 4

func (s *sqlite) open(context.Context) (writers, readers *sql.DB, err error) {
	if err := ownFiles(s.path); err != nil {
		return nil, nil, err
	}
	// SQLite allows one writer at a time. With a single connection, writers in this process queue fairly, which SQLite's
	// busy handler does not guarantee; the busy handler serves only between processes. Readers have their own
	// connections, since they need not wait for any writer.
	writers, err = s.connect(url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)", "cache_size(-16000)"},
	})
	if err != nil {
		return nil, nil, err
	}
	writers.SetMaxOpenConns(1)
	readers, err = s.connect(url.Values{"_pragma": {"busy_timeout(10000)", "query_only(ON)"}})
	if err != nil {
		return nil, nil, errors.Join(err, writers.Close())
	}
	readers.SetMaxOpenConns(maxReaders)
	if s.file, err = os.Stat(s.path); err != nil {
		return nil, nil, errors.Join(err, readers.Close(), writers.Close())
	}
	return writers, readers, nil
}

// ownFiles creates the file and its folder, and makes the file this user's alone, since it may hold secrets. SQLite
// gives the files beside it the mode of the file; those that are there already could be another user's, and would be
// read.
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

func (s *sqlite) view() (*sql.DB, error) {
	if _, err := os.Stat(s.path); err != nil {
		return nil, err
	}
	return s.connect(url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "query_only(ON)"}})
}

func (s *sqlite) connect(query url.Values) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: s.path}).EscapedPath(), RawQuery: query.Encode()}
	return sql.Open("sqlite", u.String())
}

// migrate tries again if it loses a race against another process, and finds the work done. SQLite's busy handler does
// not make it wait while a new file gets its write-ahead log.
func (s *sqlite) migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	for attempt := 1; ; attempt++ {
		err := ownTables(ctx, db, sqliteTables)
		if err == nil {
			err = up(ctx, db, goose.DialectSQLite3, migrations, "migrations/sqlite")
		}
		if err == nil || attempt == 10 || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(rand.N(100 * time.Millisecond)):
		case <-ctx.Done():
		}
	}
}

// isolation is SQLite's only one. With _txlock=immediate, a transaction holds the file's write lock from the start.
func (s *sqlite) isolation() sql.IsolationLevel { return sql.LevelDefault }

func (s *sqlite) snapshot() sql.IsolationLevel { return sql.LevelDefault }

func (s *sqlite) now() string { return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)" }

func (s *sqlite) conflict(error) bool { return false }

func (s *sqlite) coded(err error) error { return err }

// there: what goes to a file that is no longer at its path is lost with this process.
func (s *sqlite) there() error {
	switch now, err := os.Stat(s.path); {
	case err != nil:
		return fmt.Errorf("its file is gone: %w", err)
	case !os.SameFile(s.file, now):
		return fmt.Errorf("its file was replaced by another one: %s", s.path)
	}
	return nil
}

func (s *sqlite) String() string { return s.path }
