package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

func TestMain(m *testing.M) {
	store.WaitLonger()
	testmain.Leaks(m)
}

func migrations() fstest.MapFS {
	return fstest.MapFS{
		"migrations/sqlite/00001_first.sql":   {Data: []byte("-- +goose Up\nCREATE TABLE counts (n INTEGER NOT NULL) STRICT;\nINSERT INTO counts VALUES (0);\n")},
		"migrations/postgres/00001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE counts (n BIGINT NOT NULL);\nINSERT INTO counts VALUES (0);\n")},
	}
}

func open(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path, migrations())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func increment(ctx context.Context, s *store.Store) error {
	return s.InTx(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT n FROM counts").Scan(&n); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE counts SET n = $1", n+1)
		return err
	})
}

func count(t *testing.T, path string) (n int) {
	t.Helper()
	require.NoError(t, store.View(t.Context(), path, func(q store.Querier) error {
		return q.QueryRowContext(t.Context(), "SELECT n FROM counts").Scan(&n)
	}))
	return n
}

// Two stores on one source behave like two processes of one service: what one of them reads in a transaction stays true
// until it has written.
func TestTransactionsOfTwoStoresDoNotOverlap(t *testing.T) {
	t.Parallel()
	for _, path := range []string{shoptest.Source(t, "count"), filepath.Join(t.TempDir(), "new folder", "with ?#% in it", "count.db")} {
		transactionsDoNotOverlap(t, path)
	}
}

func transactionsDoNotOverlap(t *testing.T, path string) {
	t.Helper()
	stores := []*store.Store{open(t, path), open(t, path)}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for range 10 {
				if err := increment(t.Context(), stores[i%2]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 200, count(t, path))
}

// The files hold what customers said, and secrets: whatever the umask is, or made them so before, no other user reads
// them.
func TestFilesAreThisUsersAlone(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Log("access is a matter of lists there, and not of modes")
		return
	}
	path := filepath.Join(t.TempDir(), "new folder", "count.db")
	requireModes := func() {
		for name, mode := range map[string]os.FileMode{
			filepath.Dir(path): 0o700 | os.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600,
		} {
			info, err := os.Stat(name)
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode(), name)
		}
	}
	s := open(t, path)
	require.NoError(t, increment(t.Context(), s))
	requireModes()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		require.NoError(t, os.Chmod(path+suffix, 0o666))
	}
	require.NoError(t, increment(t.Context(), open(t, path)))
	requireModes()

	for _, suffix := range []string{"", "-wal", "-journal"} {
		planted := filepath.Join(t.TempDir(), "count.db")
		require.NoError(t, os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), planted+suffix))
		_, err := store.Open(t.Context(), planted, migrations())
		require.ErrorContains(t, err, planted+suffix+" is not to be trusted: it is not a regular file")
	}
}

func TestSeveralOpenANewStoreAtOnce(t *testing.T) {
	t.Parallel()
	path := shoptest.Source(t, "count")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), path, migrations())
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(increment(t.Context(), s), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 4, count(t, path))
}

// After a roll-back, the program before works on what the newer one has migrated, while migrations only add.
func TestAnOlderProgramOnANewerStore(t *testing.T) {
	t.Parallel()
	path := shoptest.Source(t, "store")
	newer := migrations()
	for _, kind := range []string{"sqlite", "postgres"} {
		newer["migrations/"+kind+"/00002_more.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE counts ADD COLUMN note TEXT NOT NULL DEFAULT '';\n")}
	}
	s, err := store.Open(t.Context(), path, newer)
	require.NoError(t, err)
	require.NoError(t, increment(t.Context(), s))
	require.NoError(t, s.Close())

	require.NoError(t, increment(t.Context(), open(t, path)))
	require.Equal(t, 2, count(t, path))
}

func TestErrorRollsBack(t *testing.T) {
	t.Parallel()
	path := shoptest.Source(t, "count")
	s := open(t, path)
	mine := errors.New("mine")
	err := s.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE counts SET n = 7")
		require.NoError(t, err)
		return mine
	})
	require.ErrorIs(t, err, mine)
	require.Equal(t, 0, count(t, path))
	require.NoError(t, increment(t.Context(), s), "the connection is free again")
}

func TestEndedContextIsRetryable(t *testing.T) {
	t.Parallel()
	s := open(t, shoptest.Source(t, "count"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := increment(ctx, s)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, leveret.Unavailable)
	require.NoError(t, increment(t.Context(), s))
}

// The second of two statements finds the transaction gone if ctx has ended between them, and does not know why. InTx does.
func TestContextEndsATransaction(t *testing.T) {
	t.Parallel()
	s := open(t, shoptest.Source(t, "count"))
	ctx, cancel := context.WithCancel(t.Context())
	err := s.InTx(ctx, func(tx *sql.Tx) error {
		cancel()
		for {
			if _, err := tx.ExecContext(t.Context(), "UPDATE counts SET n = 7"); err != nil {
				return err
			}
		}
	})
	require.ErrorIs(t, err, sql.ErrTxDone)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, leveret.Unavailable)
	require.NoError(t, increment(t.Context(), s))
}

// View does, too.
func TestContextEndsAView(t *testing.T) {
	t.Parallel()
	source := shoptest.Source(t, "count")
	open(t, source)
	ctx, cancel := context.WithCancel(t.Context())
	err := store.View(ctx, source, func(q store.Querier) error {
		cancel()
		for {
			var n int
			if err := q.QueryRowContext(t.Context(), "SELECT n FROM counts").Scan(&n); err != nil {
				return err
			}
		}
	})
	require.ErrorIs(t, err, sql.ErrTxDone)
	require.ErrorIs(t, err, context.Canceled)
}

// A writer that waits for another process keeps nobody from reading.
func TestReadersDoNotWait(t *testing.T) {
	t.Parallel()
	path := shoptest.Source(t, "count")
	other, s := open(t, path), open(t, path)
	require.NoError(t, other.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE counts SET n = 7")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- increment(ctx, s) }()
		require.Eventually(t, func() bool { return s.Writing() }, time.Minute, time.Millisecond)
		reading, done := context.WithTimeout(t.Context(), 2*time.Minute)
		defer done()
		var n int
		require.NoError(t, s.Reader().QueryRowContext(reading, "SELECT n FROM counts").Scan(&n))
		cancel()
		require.Error(t, <-ended)
		return nil
	}))
}

func TestViewWritesNothing(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing.db")
	require.ErrorIs(t, store.View(t.Context(), missing, func(store.Querier) error { return nil }), os.ErrNotExist)
	require.NoFileExists(t, missing)

	path := shoptest.Source(t, "count")
	s := open(t, path)
	require.NoError(t, s.InTx(t.Context(), func(tx *sql.Tx) error { // while a writer is active
		require.Equal(t, 0, count(t, path))
		_, err := tx.ExecContext(t.Context(), "UPDATE counts SET n = 1")
		require.NoError(t, err)
		require.Equal(t, 0, count(t, path), "what is not committed is not seen")
		return nil
	}))
	require.Equal(t, 1, count(t, path))

	err := store.View(t.Context(), path, func(q store.Querier) error {
		rows, err := q.QueryContext(t.Context(), "UPDATE counts SET n = 9 RETURNING n")
		if err == nil {
			_, err = store.Collect(rows, func(*sql.Rows, *int) error { return nil })
		}
		return err
	})
	require.Error(t, err)
	require.Equal(t, 1, count(t, path))
}

// TestViewOfAKilledWorker: all of the data is in the write-ahead log that was left behind.
func TestViewOfAKilledWorker(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "count.db")
	s := open(t, path)
	require.NoError(t, increment(t.Context(), s))

	copied := filepath.Join(t.TempDir(), "count.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(copied+suffix, b, 0o600))
	}
	require.Equal(t, 1, count(t, copied))
	require.NoError(t, increment(t.Context(), open(t, copied)))
	require.Equal(t, 2, count(t, copied))
}

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Now()
	require.Equal(t, now.UTC().Truncate(time.Microsecond), store.Moment(now))
	require.True(t, store.Moment(time.Time{}).IsZero())
}

// TestNow: the clock of the database is that of this machine here, and in microseconds.
func TestNow(t *testing.T) {
	t.Parallel()
	s := open(t, shoptest.Source(t, "now"))
	before := time.Now().Add(-2 * time.Millisecond) // SQLite's has no microseconds
	now, err := s.Now(t.Context(), s.Reader())
	require.NoError(t, err)
	require.WithinRange(t, now, before, time.Now().Add(time.Millisecond))
}
