package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
)

// joined is a sender that says why it is not ready, until it is.
type joined struct {
	leveret.Sender
	ready atomic.Bool
}

func (j *joined) Ready() error {
	if j.ready.Load() {
		return nil
	}
	return errors.Join(errors.New("one line"), errors.New("and another"))
}

// A trouble that is over is not reported, however long ago the outbox was looked at; one that begins is at once.
func TestTroubleIsOver(t *testing.T) {
	t.Parallel()
	o, j := made(t, outbox.Config{DB: database(t)}), &joined{Sender: newBook()}
	relaying(t, o, order, j)
	eventually(t, func() bool { s, known := o.Last(); return known && len(s.Trouble) == 1 })
	require.EqualError(t, o.Ready(), "one line; and another")
	j.ready.Store(true)
	s, known := o.Last()
	require.True(t, known)
	require.Empty(t, s.Trouble)
	s, err := o.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, s.Trouble)
	require.NoError(t, o.Ready())
	j.ready.Store(false)
	require.Error(t, o.Ready())
}

// What is set aside is counted; keys that wait for it only where there are some.
func TestReadySaysNothingOfNothing(t *testing.T) {
	t.Parallel()
	b, ctx := newBook(), t.Context()
	b.fail = func(*leveret.Message, numbered) error { return leveret.Errorf(leveret.InvalidArgument, "wrong") }
	o := made(t, outbox.Config{DB: database(t)})
	store(t, o, "", 1)
	relaying(t, o, order, b)
	eventually(t, func() bool { return o.Ready() != nil })
	require.EqualError(t, o.Ready(), "set aside: 1")
	require.NoError(t, o.Skip(ctx, "-1"))
}

// A relay that cannot begin says so, though nobody could look at the outbox yet.
func TestRelayCannotBegin(t *testing.T) {
	t.Parallel()
	db := opened(t, newSource(t))
	o := made(t, outbox.Config{DB: db, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, db.Close())
	relaying(t, o, order, newBook())
	eventually(t, func() bool { return o.Ready() != nil })
	require.ErrorContains(t, o.Ready(), "database is closed")
	_, known := o.Last()
	require.False(t, known)
}

// List refuses what it cannot list, and lists all states.
func TestList(t *testing.T) {
	t.Parallel()
	o, ctx := made(t, outbox.Config{DB: database(t)}), t.Context()
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		return placed.Publish(ctx, outbox.In(tx), numbered{"a", 1}, leveret.MessageID("later"), leveret.After(time.Hour))
	}))
	store(t, o, "k", 1, 2, 3)
	_, err := o.List(ctx, "set aside", 10)
	require.ErrorIs(t, err, leveret.InvalidArgument)
	require.ErrorContains(t, err, "it must be aside, blocked, ready or later")
	_, err = o.List(ctx, outbox.Ready, 0)
	require.ErrorIs(t, err, leveret.InvalidArgument)
	ids := func(state outbox.State, most int) (all []string) {
		found, err := o.List(ctx, state, most)
		require.NoError(t, err)
		for _, e := range found {
			all = append(all, e.ID)
		}
		return all
	}
	require.Equal(t, []string{"k-1", "k-2", "k-3", "later"}, ids("", 10))
	require.Equal(t, []string{"k-1", "k-2", "k-3"}, ids("", 3))
	require.Equal(t, []string{"later"}, ids(outbox.Later, 10))
	e, err := o.Get(ctx, "k-1")
	require.NoError(t, err)
	require.Equal(t, map[string]any{}, e.Headers, "none, rather than unknown")
	require.NotNil(t, e.Headers)
}

// A time that was forgotten is refused; one that is past means at once.
func TestTimes(t *testing.T) {
	t.Parallel()
	db, ctx := database(t), t.Context()
	o := made(t, outbox.Config{DB: db})
	at := func(at time.Time, id string) error {
		return o.InTx(ctx, func(tx *sql.Tx) error {
			return placed.Publish(ctx, outbox.In(tx), numbered{"k", 1}, leveret.MessageID(id), leveret.AtTime(at))
		})
	}
	move := func(to time.Time) error {
		return o.InTx(ctx, func(tx *sql.Tx) error { return outbox.Move(ctx, tx, "one", to) })
	}
	require.NoError(t, at(time.Now().Add(time.Hour), "one"))
	for _, never := range []time.Time{{}, time.Time{}.Local(), time.Unix(-1, 0)} {
		require.ErrorIs(t, at(never, "two"), leveret.InvalidArgument)
		require.ErrorIs(t, move(never), leveret.InvalidArgument)
	}
	require.Equal(t, 1, rows(t, db))
	require.NoError(t, at(time.Unix(0, 0), "past"))
	require.NoError(t, move(time.Unix(1, 0)))
	relaying(t, o, order, newBook())
	eventually(t, func() bool { return rows(t, db) == 0 })
}

// What is wrong in how a SQLite database was opened is logged, with how it is opened.
func TestHowSQLiteIsOpened(t *testing.T) {
	t.Parallel()
	const good = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"
	for query, test := range map[string]struct {
		connections int
		wrong       []string
	}{
		good:                                {1, nil},
		good + "&_txlock=immediate":         {4, []string{"the pool may have more than one connection"}},
		"_pragma=journal_mode(WAL)":         {1, []string{"there is no busy_timeout"}},
		"_pragma=busy_timeout(1)":           {1, []string{"journal_mode is delete, not WAL"}},
		"_pragma=journal_mode(DELETE)":      {0, []string{"the pool may have more than one connection", "there is no busy_timeout", "journal_mode is delete, not WAL"}},
		good + "&mode=memory&cache=private": {1, nil},
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "o.db")+"?"+query)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			db.SetMaxOpenConns(test.connections)
			var log bytes.Buffer
			_, err = outbox.New(context.Background(), outbox.Config{DB: db, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			require.NoError(t, err)
			var wrong []string
			for _, found := range regexp.MustCompile(`level=WARN .* wrong="([^"]*)" why=".* open="sql.Open.*busy_timeout`).FindAllStringSubmatch(log.String(), -1) {
				wrong = append(wrong, found[1])
			}
			require.Equal(t, test.wrong, wrong, log.String())
		})
	}
}
