// Package store keeps the state of a shop service in a SQLite file or a schema of a PostgreSQL database: migrations,
// transactions that see nobody else's half-done work, an outbox and an inbox in the same place, and idempotency keys.
//
// SQL is written once for both, with parameters $1, $2 and so on. Only migrations differ.
//
// In a SQLite file, a committed transaction survives the death of the process at any moment, because the operating
// system holds the write-ahead log. With synchronous=NORMAL, a power failure may lose the last commits but never
// corrupts the file. A service that must not lose even those sets FULL and pays for an fsync per transaction. In
// PostgreSQL, what is committed survives a power failure, unless the server is configured otherwise.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Store is an open SQLite file, or a schema of a PostgreSQL database. It is safe for concurrent use, and several
// processes may open the same one.
type Store struct {
	db      *sql.DB // writes
	readers *sql.DB
	kind    kind
	commits atomic.Int64
}

// A kind is what differs between SQLite and PostgreSQL.
type kind interface {
	// open returns the connections of those who write and of those who read.
	open(ctx context.Context) (writers, readers *sql.DB, err error)
	// view returns connections that can only read. It creates nothing.
	view() (*sql.DB, error)
	// migrate brings the tables up to date, the store's own and those of migrations. Several processes may do so at once.
	migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error
	// isolation is that of a transaction whose reads stay true until it has committed; snapshot that of one which only
	// reads.
	isolation() sql.IsolationLevel
	snapshot() sql.IsolationLevel
	// now is the SQL of the time, in microseconds.
	now() string
	// conflict reports whether a transaction failed only because of another one, and can be repeated.
	conflict(err error) bool
	// coded gives an error of the database its code, if that is known and the error has none.
	coded(err error) error
	// there returns an error if what was opened is no longer where it was.
	there() error
	// String returns the source in a form safe to show.
	String() string
}

func kindOf(source string) kind {
	if isPostgres(source) {
		return &postgres{source: source}
	}
	return &sqlite{path: source}
}

func isPostgres(source string) bool {
	return strings.HasPrefix(source, "postgres://") || strings.HasPrefix(source, "postgresql://")
}

// Open opens a store, creates it if needed, and brings its tables up to date. The source is the path of a SQLite file, or
// the URL of a PostgreSQL database, postgres://user@host:port/database?search_path=schema. The caller closes the store.
//
// The migrations are goose's, in files named migrations/sqlite/NNNNN_what.sql and migrations/postgres/NNNNN_what.sql; the
// table of idempotency keys is created by Open itself. If several processes open a store at once, one of them migrates,
// and the others wait for it.
//
// A SQLite file and those that SQLite keeps beside it have the mode 0600, whatever they had before; a new folder has
// 0700. In a folder to which everyone may write, a file of another user is refused; a link is refused everywhere.
//
// In a PostgreSQL database, the tables are in one schema, which Open creates if there is none and it may. Beside the
// parameters of libpq, the URL may have password_file, whose file is read for every connection, as those with
// certificates are. A server that is away, or starting, is waited for up to 30 seconds. A store has at most eight
// connections, four that write and four that read. They keep settings, so that PgBouncer has to pool sessions, not
// transactions.
func Open(ctx context.Context, source string, migrations fs.FS) (*Store, error) {
	k := kindOf(source)
	db, readers, err := k.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("the store %s: %w", k, err)
	}
	if err := k.migrate(ctx, db, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("the store %s: %w", k, err), readers.Close(), db.Close())
	}
	return &Store{db: db, readers: readers, kind: k}, nil
}

// Close closes the store's connections. It checkpoints the write-ahead log of a file.
func (s *Store) Close() error { return errors.Join(s.readers.Close(), s.db.Close()) }

// Reader reads committed data without a lock. Do not base a write on what it returns; use InTx for that.
func (s *Store) Reader() Querier { return s.readers }

// Now returns the time by the database's clock, which is the same for all processes. The relay of an outbox goes by it, too.
// SQLite's is that of the machine, to the millisecond.
func (s *Store) Now(ctx context.Context, q Querier) (time.Time, error) {
	var us sql.NullInt64
	if err := q.QueryRowContext(ctx, "SELECT "+s.kind.now()).Scan(&us); err != nil {
		return time.Time{}, fmt.Errorf("ask the database for the time: %w", err)
	}
	return Time(us), nil
}

// InTx runs f in a transaction that is as if alone: whatever f reads stays true until its writes are committed. If f
// returns nil, InTx commits; otherwise it rolls back and returns f's error.
//
// f may run more than once, each time from the start: in PostgreSQL, a transaction that does not fit with another one
// is rolled back and repeated, until ctx ends. So f must not add to what it finds outside the transaction, but set it.
//
// A failure to begin or commit has the code Unavailable, and so has f's error if it comes from a database that cannot
// do anything now, being away or full for example. An error from text that the database cannot hold has the code
// InvalidArgument: PostgreSQL refuses the character U+0000 and invalid UTF-8. Where ctx has ended the transaction, the
// error is Unavailable, too, and matches ctx's cause.
func (s *Store) InTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := s.transact(ctx, f)
		if err == nil {
			s.commits.Add(1)
			return nil
		}
		if !s.kind.conflict(err) {
			return s.kind.coded(err)
		}
		select {
		case <-time.After(rand.N(wait)):
		case <-ctx.Done():
			return leveret.Errorf(leveret.Unavailable, "the store: %w: %w", context.Cause(ctx), err)
		}
	}
}

// How long a transaction waits, at most, before it is repeated: the first time, and after many.
const (
	firstWait   = 5 * time.Millisecond
	longestWait = 500 * time.Millisecond
)

func (s *Store) transact(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: s.kind.isolation()})
	if err != nil {
		return leveret.Errorf(leveret.Unavailable, "the store: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no-op after a commit
	if err := f(tx); err != nil {
		return ended(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return leveret.Errorf(leveret.Unavailable, "the store: %w", ended(ctx, err))
	}
	return nil
}

// ended adds the cause to the error of a transaction that ctx has rolled back: a statement that finds it gone says only that.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return leveret.Errorf(leveret.Unavailable, "%w: %w", context.Cause(ctx), err)
	}
	return err
}

// Codes is middleware that gives the errors of the store the codes that they have after [Store.InTx], wherever a
// handler got them, such as from [Store.Reader].
func (s *Store) Codes(next leveret.Handler) leveret.Handler {
	return func(ctx context.Context, m *leveret.Message) error {
		err := next(ctx, m)
		if err == nil {
			return nil
		}
		return s.kind.coded(err)
	}
}

// ownTables creates the tables that every store has.
func ownTables(ctx context.Context, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, statements string,
) error {
	if _, err := db.ExecContext(ctx, statements); err != nil {
		return fmt.Errorf("the store's own tables: %w", err)
	}
	return nil
}

// up runs the migrations in a folder.
func up(ctx context.Context, db *sql.DB, dialect goose.Dialect, migrations fs.FS, folder string) error {
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(dialect, db, files, goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = p.Up(ctx)
	}
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}
