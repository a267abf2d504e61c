package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/leveretmq/leveret/internal/plain"
	"github.com/leveretmq/leveret/internal/trust"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// postgres is a schema of a PostgreSQL database.
type postgres struct {
	source string
	schema string // once open
}

// postgresTables are the store's own tables. That of probes is empty but for the moment of a probe.
const postgresTables = `
CREATE TABLE IF NOT EXISTS idempotency_keys (
    scope   TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    request TEXT NOT NULL, -- a hash
    result  TEXT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON idempotency_keys (used_at);

CREATE TABLE IF NOT EXISTS probes (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, room BYTEA NOT NULL);`

const (
	// maxWriters is how many connections write to a schema at once.
	maxWriters = 4
	// maxLife is for how long a connection is used: then a new one may find that the server's name means another one.
	maxLife, maxIdle = 30 * time.Minute, 5 * time.Minute
	// connectTimeout is for one connection, if the URL has no connect_timeout.
	connectTimeout = 10 * time.Second
	// maxName is how long a name may be, in bytes. PostgreSQL cuts a longer one.
	maxName = 63
)

// openWithin is how long Open waits for a server that is away. Tests wait longer: their machine may be busy.
var openWithin = 30 * time.Second

// Settings of the connections that write.
//
// A transaction that is serializable conflicts with those that write to what it has read. Having read a small table
// from end to end, as PostgreSQL prefers to, it would conflict with all of them, so indexes are to be used wherever
// there are some. A process that hangs in the middle of a transaction holds others up for a minute at most; a machine
// that is gone keeps the lock of migrations for half a minute.
const writing = `SET enable_seqscan = off; SET idle_in_transaction_session_timeout = '1min';
	SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3`

// reading is the setting of those that read.
const reading = `SET default_transaction_read_only = on`

func (p *postgres) open(context.Context) (writers, readers *sql.DB, err error) {
	config, err := connector{source: p.source}.config()
	if err != nil {
		return nil, nil, err
	}
	p.schema = config.schema
	return p.connect(writing, maxWriters), p.connect(reading, maxReaders), nil
}

// patiently does something again while the server is away or starting, has no connection to spare, or only reads.
func (p *postgres) patiently(ctx context.Context, do func() error) error {
	waiting, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	for {
		err := do()
		later := err != nil && (unreachable(err) || pgconn.Timeout(err) || errors.Is(p.coded(err), leveret.Unavailable))
		if !later || refused(err) {
			return err
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-waiting.Done():
			return err
		}
	}
}

// refused reports whether the server does not let this user in, or has no such database: waiting does not change that.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(e.Code, "28") || e.Code == "3D000")
}

func (p *postgres) view() (*sql.DB, error) { return p.connect(reading, 1), nil }

func (p *postgres) connect(settings string, most int) *sql.DB {
	db := sql.OpenDB(connector{source: p.source, settings: settings})
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxLifetime(maxLife)
	db.SetConnMaxIdleTime(maxIdle)
	return db
}

// A connector makes connections to a source. It reads the files that the source names for each of them.
type connector struct {
	source   string
	settings string // statements
}

// A connection is how to connect, and to which schema.
type connection struct {
	*pgx.ConnConfig
	schema string
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	// Set afterwards: PgBouncer refuses a search_path among the parameters of a connection.
	settings := "SET search_path TO " + pgx.Identifier{config.schema}.Sanitize() + "; " + c.settings
	set := func(ctx context.Context, conn *pgx.Conn) error {
		return conn.PgConn().Exec(ctx, settings).Close()
	}
	return stdlib.GetConnector(*config.ConnConfig, stdlib.OptionAfterConnect(set)).Connect(ctx)
}

func (c connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// config parses the source. Its error contains no password.
func (c connector) config() (connection, error) {
	u, err := url.Parse(c.source)
	if err != nil {
		return connection{}, errors.New("it is not a URL such as postgres://user@host:port/database")
	}
	query := u.Query()
	schema, passwordFile := query.Get("search_path"), query.Get("password_file")
	query.Del("search_path")
	query.Del("password_file")
	u.RawQuery = query.Encode()
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return connection{}, err
	}
	if schema == "" {
		schema = "public"
	}
	if len(schema) > maxName {
		return connection{}, fmt.Errorf("the schema %.100q has a name of %d bytes; PostgreSQL takes %d", schema, len(schema), maxName)
	}
	if passwordFile != "" {
		content, err := trust.Read(passwordFile)
		if err != nil {
			return connection{}, fmt.Errorf("password_file: %w", err)
		}
		config.Password = strings.TrimRight(string(content), "\r\n")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	config.DialFunc = (&net.Dialer{Timeout: config.ConnectTimeout, KeepAlive: 15 * time.Second}).DialContext
	return connection{config, schema}, nil
}

// migrate waits for a server that is away, and migrates.
func (p *postgres) migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	return p.patiently(ctx, func() error { return p.migrateOnce(ctx, db, migrations) })
}

// migrateOnce holds a lock of the schema's while it works. The server gives it to the next process when this one is
// done, or dies.
func (p *postgres) migrateOnce(ctx context.Context, db *sql.DB, migrations fs.FS) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	const key = "hashtextextended($1, 0)"
	name := "leveret " + p.schema
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock("+key+")", name); err != nil {
		return fmt.Errorf("wait for others who migrate: %w", err)
	}
	defer func() {
		_, unlocked := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock("+key+")", name)
		err = errors.Join(err, unlocked)
	}()
	if err := p.ownSchema(ctx, conn); err != nil {
		return err
	}
	if err := ownTables(ctx, conn, postgresTables); err != nil {
		return err
	}
	return up(ctx, db, goose.DialectPostgres, migrations, "migrations/postgres")
}

// ownSchema creates the schema. CREATE SCHEMA IF NOT EXISTS would need the right to, even where it exists.
func (p *postgres) ownSchema(ctx context.Context, conn *sql.Conn) error {
	var database, user string
	var exists, creates bool
	err := conn.QueryRowContext(ctx, "SELECT current_database(), current_user, EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", p.schema).
		Scan(&database, &user, &exists)
	if err != nil {
		return err
	}
	name := pgx.Identifier{p.schema}.Sanitize()
	if !exists {
		if _, err := conn.ExecContext(ctx, "CREATE SCHEMA "+name); err != nil {
			return fmt.Errorf("the schema %s of the database %s cannot be created; its owner can do so: CREATE SCHEMA %s AUTHORIZATION %s: %w",
				name, database, name, pgx.Identifier{user}.Sanitize(), err)
		}
		return nil
	}
	if err := conn.QueryRowContext(ctx, "SELECT has_schema_privilege($1, 'CREATE') AND has_schema_privilege($1, 'USAGE')", p.schema).Scan(&creates); err != nil {
		return err
	}
	if !creates {
		return fmt.Errorf("the user %s may not create tables in the schema %s of the database %s; its owner can allow that: "+
			"GRANT CREATE, USAGE ON SCHEMA %s TO %s", user, name, database, name, pgx.Identifier{user}.Sanitize())
	}
	return nil
}

// isolation: what a transaction reads stays true, or it fails with a conflict.
func (p *postgres) isolation() sql.IsolationLevel { return sql.LevelSerializable }

func (p *postgres) snapshot() sql.IsolationLevel { return sql.LevelRepeatableRead }

func (p *postgres) now() string {
	return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
}

// conflict: the errors are serialization_failure and deadlock_detected. A key that two transactions insert at once
// fails with the former, too, since both have looked for it first.
func (p *postgres) conflict(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

// coded: see https://www.postgresql.org/docs/current/errcodes-appendix.html.
func (p *postgres) coded(err error) error {
	if err == nil || leveret.CodeOf(err) != leveret.Unknown {
		return err
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if unreachable(err) {
			return leveret.Errorf(leveret.Unavailable, "the store: %w", err)
		}
		return err
	}
	switch class := e.Code[:min(2, len(e.Code))]; {
	case slices.Contains([]string{"22021", "22P05"}, e.Code): // not text in this encoding
		return leveret.Errorf(leveret.InvalidArgument, "the store: %w", err)
	case slices.Contains([]string{"08", "40", "53", "57", "58"}, class), // connection, rollback, resources, intervention, system
		slices.Contains([]string{"25006", "25P03"}, e.Code): // read-only, as a standby is; idle in a transaction for too long
		return leveret.Errorf(leveret.Unavailable, "the store: %w", err)
	}
	return err
}

// unreachable reports whether the connection to the server is broken, or there is none.
func unreachable(err error) bool {
	if _, network := errors.AsType[net.Error](err); network {
		return true
	}
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, driver.ErrBadConn, sql.ErrConnDone} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}

func (p *postgres) there() error { return nil }

func (p *postgres) String() string {
	if p.schema == "" {
		return plain.URL(p.source)
	}
	return plain.URL(p.source) + ", schema " + p.schema
}

// DropSchema removes a schema of a PostgreSQL database, with all that is in it, if it exists. The source is that of
// [Open]. Nobody may have it open.
func DropSchema(ctx context.Context, source string) (err error) {
	p := &postgres{source: source}
	config, err := connector{source: source}.config()
	if err != nil {
		return fmt.Errorf("the store %s: %w", p, err)
	}
	p.schema = config.schema
	db := p.connect("", 1)
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{p.schema}.Sanitize()+" CASCADE"); err != nil {
		return fmt.Errorf("the store %s: %w", p, err)
	}
	return nil
}
