//go:build postgres

package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/pgtest"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// patience is for what takes long on a busy machine.
const patience = 2 * time.Minute

// admin returns connections of the superuser to a database.
func admin(t *testing.T, s *pgtest.Server, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", s.URL(database))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func run(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := db.ExecContext(t.Context(), s)
		require.NoError(t, err, s)
	}
}

// unique returns a name that no other test gives to something of the shared server.
func unique(name string) string { return name + "_" + strings.ToLower(rand.Text()[:8]) }

// with returns a URL with a parameter changed.
func with(t *testing.T, source, name, value string) string {
	t.Helper()
	u, err := url.Parse(source)
	require.NoError(t, err)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// Ten replicas that start together run each migration once, and none fails.
func TestReplicasMigrateOnce(t *testing.T) {
	t.Parallel()
	source := pgtest.Source(t, "replicas")
	more := migrations()
	for i := 2; i <= 6; i++ { // each adds to what it finds
		more[fmt.Sprintf("migrations/postgres/%05d_more.sql", i)] = &fstest.MapFile{
			Data: []byte("-- +goose Up\nSELECT pg_sleep(0.01);\nUPDATE counts SET n = n + 1;\nINSERT INTO counts SELECT 0 WHERE false;\n"),
		}
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), source, more)
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 5, count(t, source))
}

// What a transaction has read stays true, although writers are not kept apart: one that would not fit is repeated.
func TestConflictsAreRepeated(t *testing.T) {
	t.Parallel()
	source := pgtest.Source(t, "conflicts")
	stores := []*store.Store{open(t, source), open(t, source)}
	var runs atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 10 {
				err := stores[i%2].InTx(t.Context(), func(tx *sql.Tx) error {
					runs.Add(1)
					var n int
					if err := tx.QueryRowContext(t.Context(), "SELECT n FROM counts").Scan(&n); err != nil {
						return err
					}
					_, err := tx.ExecContext(t.Context(), "UPDATE counts SET n = $1", n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 160, count(t, source))
	require.Greater(t, runs.Load(), int64(160), "some conflicted")
}

// Two transactions that each take what the other one looks at, and write elsewhere, do not both succeed as they are.
func TestWriteSkew(t *testing.T) {
	t.Parallel()
	source := pgtest.Source(t, "skew")
	s := open(t, source)
	var both sync.WaitGroup
	both.Add(2)
	var wg sync.WaitGroup
	for i := range 2 {
		first := true
		wg.Go(func() {
			err := s.InTx(t.Context(), func(tx *sql.Tx) error {
				var rows int
				if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM counts").Scan(&rows); err != nil {
					return err
				}
				if first { // both have read before either writes
					first = false
					both.Done()
					both.Wait()
				}
				if rows > 1 {
					return nil
				}
				_, err := tx.ExecContext(t.Context(), "INSERT INTO counts VALUES ($1)", i+1)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var rows int
	require.NoError(t, s.Reader().QueryRowContext(t.Context(), "SELECT count(*) FROM counts").Scan(&rows))
	require.Equal(t, 2, rows, "the one of the migration, and one")
}

// A transaction that always conflicts ends with its context, and can be tried again later.
func TestConflictsEndWithTheContext(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.Source(t, "endless"))
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	err := s.InTx(ctx, func(tx *sql.Tx) error {
		if runs++; runs == 3 {
			cancel()
		}
		_, err := tx.ExecContext(t.Context(), "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")
		return err
	})
	require.ErrorIs(t, err, leveret.Unavailable)
	require.Equal(t, 3, runs)
}

// While the server is away, transactions fail as what is tried again; when it is back, what was committed is there.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	source := server.Source("killed")
	s := open(t, source)
	var done, doubtful atomic.Int64
	var failed atomic.Bool
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				switch err := increment(t.Context(), s); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, leveret.Unavailable):
					doubtful.Add(1)
					failed.Store(true)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		before := done.Load()
		require.Eventually(t, func() bool { return done.Load() > before+20 }, patience, time.Millisecond)
		failed.Store(false)
		require.NoError(t, server.Kill())
		require.Eventually(t, failed.Load, patience, time.Millisecond)
		require.Eventually(t, func() bool { return s.Writable(t.Context()) == nil }, patience, 10*time.Millisecond)
	}
	stop()
	wg.Wait()
	n := int64(count(t, source))
	require.GreaterOrEqual(t, n, done.Load(), "nothing that was committed is lost")
	require.LessOrEqual(t, n, done.Load()+doubtful.Load(), "nothing is done twice")
}

// A store waits for a server that is starting.
func TestOpenWaitsForTheServer(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, server.Kill())
	require.NoError(t, increment(t.Context(), open(t, server.Source("late"))))
}

// The URL may name several hosts, of which the one that writes is taken.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	source := strings.Replace(pgtest.Source(t, "hosts"), "@", "@127.0.0.1:1,", 1) + "&target_session_attrs=read-write"
	require.NoError(t, increment(t.Context(), open(t, source))) // nobody listens to the first
}

// A server that only reads, as a standby does, is not writable.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	standby := unique("standby")
	run(t, admin(t, server, "postgres"), "CREATE DATABASE "+standby+" TEMPLATE template0")
	source := server.URL(standby) + "&search_path=s"
	s := open(t, source)
	require.NoError(t, s.Writable(t.Context()))
	run(t, admin(t, server, "postgres"), "ALTER DATABASE "+standby+" SET default_transaction_read_only = on",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+standby+"'")
	var err error
	require.Eventually(t, func() bool {
		err = s.Writable(t.Context())
		return err != nil && strings.Contains(err.Error(), "read-only transaction")
	}, patience, time.Millisecond)
	require.ErrorContains(t, err, "it cannot be written: ")
	require.ErrorIs(t, increment(t.Context(), s), leveret.Unavailable)
	require.Equal(t, 0, count(t, source), "it can be read")
}

// Text that PostgreSQL cannot hold is the message's fault: it is not tried again.
func TestTextThatIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.Source(t, "text"))
	for _, text := range []string{"a\x00b", "\xff"} {
		err := s.InTx(t.Context(), func(tx *sql.Tx) error {
			_, err := store.ClaimKey(t.Context(), tx, store.Key{Scope: "s", ID: text}, "r", time.Now())
			return err
		})
		require.ErrorIs(t, err, leveret.InvalidArgument, "%q", text)
		read := s.Codes(func(ctx context.Context, _ *leveret.Message) error {
			_, _, err := store.FindKey(ctx, s.Reader(), store.Key{Scope: "s", ID: text})
			return err
		})
		require.ErrorIs(t, read(t.Context(), nil), leveret.InvalidArgument, "%q", text)
	}
}

// A user who may not create what is missing learns what to ask for.
func TestPermissions(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	postgres := admin(t, server, "postgres")
	clerk, database := unique("clerk"), unique("office")
	run(t, postgres, "CREATE ROLE "+clerk+" LOGIN PASSWORD 'p'", "CREATE DATABASE "+database+" TEMPLATE template0")
	run(t, admin(t, server, database), `CREATE SCHEMA "order" AUTHORIZATION `+clerk, "CREATE SCHEMA theirs")
	source := server.UserURL(clerk, "p", database)
	require.NoError(t, increment(t.Context(), open(t, with(t, source, "search_path", "order"))), "it owns one")
	for schema, want := range map[string]string{
		"payment": `the schema "payment" of the database OFFICE cannot be created; its owner can do so: CREATE SCHEMA "payment" AUTHORIZATION "CLERK"`,
		"theirs":  `the user CLERK may not create tables in the schema "theirs" of the database OFFICE; its owner can allow that: GRANT CREATE, USAGE ON SCHEMA "theirs" TO "CLERK"`,
		"public":  `GRANT CREATE, USAGE ON SCHEMA "public" TO "CLERK"`,
		"":        `GRANT CREATE, USAGE ON SCHEMA "public" TO "CLERK"`,
	} {
		_, err := store.Open(t.Context(), with(t, source, "search_path", schema), migrations())
		require.ErrorContains(t, err, strings.NewReplacer("CLERK", clerk, "OFFICE", database).Replace(want))
	}
}

// What will not get better by waiting fails at once, and says nothing secret.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	for source, want := range map[string]string{
		server.UserURL("postgres", "hunter2", "postgres"):                  "password authentication failed",
		server.URL("nowhere"):                                              `database "nowhere" does not exist`,
		with(t, server.URL("postgres"), "sslmode", "verify-full"):          "TLS",
		with(t, server.URL("postgres"), "sslrootcert", "/none.pem"):        "none.pem",
		with(t, server.URL("postgres"), "password_file", "/no/such/thing"): "password_file: ",
		"postgres://u:hunter2@h:port/db":                                   "it is not a URL",
	} {
		_, err := store.Open(t.Context(), source, migrations())
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// A password in a file is read for every connection.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	postgres := admin(t, server, "postgres")
	role := unique("changing")
	run(t, postgres, "CREATE ROLE "+role+" LOGIN PASSWORD 'first'", "CREATE SCHEMA "+role+" AUTHORIZATION "+role)
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("first\n"), 0o600))
	source := with(t, with(t, server.UserURL(role, "unused", "postgres"), "search_path", role), "password_file", file)
	s := open(t, source)
	require.NoError(t, increment(t.Context(), s))

	run(t, postgres, "ALTER ROLE "+role+" PASSWORD 'second'",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+role+"'")
	require.Eventually(t, func() bool { return errors.Is(increment(t.Context(), s), leveret.Unavailable) }, patience, time.Millisecond)
	require.NoError(t, os.WriteFile(file, []byte("second\n"), 0o600))
	require.Eventually(t, func() bool { return increment(t.Context(), s) == nil }, patience, time.Millisecond)
}

// The server shows whose connections they are, and there are no more than it was told.
func TestConnections(t *testing.T) {
	t.Parallel()
	source := with(t, pgtest.Source(t, "connections"), "application_name", "connectionsd/host/1")
	s := open(t, source)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := increment(t.Context(), s); err != nil {
				t.Error(err)
			}
			if err := s.Reader().QueryRowContext(t.Context(), "SELECT n FROM counts").Scan(new(int)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int
	require.NoError(t, s.Reader().QueryRowContext(t.Context(),
		"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'connectionsd/host/1'").Scan(&n))
	require.LessOrEqual(t, n, 8)
	require.NotZero(t, n)
}

// A schema is gone when it is dropped, and can be dropped again.
func TestDropSchema(t *testing.T) {
	t.Parallel()
	source := pgtest.Source(t, "dropped")
	s, err := store.Open(t.Context(), source, migrations())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for range 2 {
		require.NoError(t, store.DropSchema(t.Context(), source))
		require.ErrorContains(t, store.View(t.Context(), source, func(q store.Querier) error {
			return q.QueryRowContext(t.Context(), "SELECT n FROM counts").Scan(new(int))
		}), "does not exist")
	}
}
