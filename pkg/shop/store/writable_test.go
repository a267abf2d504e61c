package store_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// grow lets the file of a store have at most this many pages; 0 means no more than it has.
func grow(t *testing.T, s *store.Store, pages int) {
	t.Helper()
	require.NoError(t, s.InTx(t.Context(), func(tx *sql.Tx) error {
		return tx.QueryRowContext(t.Context(), "PRAGMA max_page_count = "+strconv.Itoa(max(pages, 1))).Scan(new(int))
	}))
}

const unlimited = 1 << 30

// TestFull: when the file cannot grow, the probe fails as handlers do, or before. When it can, both succeed again.
func TestFull(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "count.db")
	s := open(t, path)
	insert := func() error {
		return s.InTx(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO counts SELECT 1 FROM counts a, counts b, counts c LIMIT 200")
			return err
		})
	}
	for range 10 {
		require.NoError(t, insert())
		require.NoError(t, s.Writable(t.Context()))
	}
	grow(t, s, 0)
	var failed error
	for failed == nil {
		failed = insert()
	}
	require.ErrorContains(t, failed, "full")
	for range 3 {
		require.ErrorContains(t, s.Writable(t.Context()), "it cannot be written: database or disk is full")
	}
	grow(t, s, unlimited)
	require.NoError(t, s.Writable(t.Context()))
	require.NoError(t, insert())
	require.NoError(t, s.Close())
	require.Error(t, s.Writable(t.Context()))

	// A file that has been probed often does not grow.
	s = open(t, path)
	require.NoError(t, s.Writable(t.Context()))
	size := func() (pages int) {
		require.NoError(t, s.Reader().QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages))
		return pages
	}
	before := size()
	for range 100 {
		require.NoError(t, s.Writable(t.Context()))
	}
	require.Equal(t, before, size())
}

// TestLocked: a file that another process keeps locked is not writable; one that others have written meanwhile is busy.
func TestLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "count.db")
	other, s := open(t, path), open(t, path)
	probe := func(meanwhile func()) error {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Writable(ctx) }()
		require.Eventually(t, s.Writing, time.Minute, time.Millisecond)
		meanwhile()
		cancel()
		return <-ended
	}
	require.NoError(t, other.InTx(t.Context(), func(*sql.Tx) error {
		require.ErrorContains(t, probe(func() {}), "it cannot be written")
		require.NoError(t, probe(s.Committed))
		return nil
	}))
	require.NoError(t, s.Writable(t.Context()))
}

// TestFileGone: what is written to a file that is no longer at its path would be lost.
func TestFileGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "count.db")
	s := open(t, path)
	require.NoError(t, os.Rename(path, path+".away"))
	require.ErrorContains(t, s.Writable(t.Context()), "its file is gone")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.ErrorContains(t, s.Writable(t.Context()), "its file was replaced")
	require.NoError(t, os.Rename(path+".away", path))
	require.NoError(t, s.Writable(t.Context()))
}
