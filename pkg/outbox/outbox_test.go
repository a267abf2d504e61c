package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

type numbered struct {
	Key string `json:"key"`
	N   int    `json:"n"`
}

var (
	placed = leveret.NewEvent[numbered]("order.placed", leveret.Key(func(n numbered) string { return n.Key }))
	other  = leveret.NewEvent[numbered]("order.other")
	order  = leveret.NewService("order", leveret.Publishes(placed))
)

func database(t testing.TB) *sql.DB {
	t.Helper()
	return opened(t, filepath.Join(t.TempDir(), "t.db"))
}

func opened(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(60000)&_pragma=synchronous(NORMAL)")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func made(t testing.TB, config outbox.Config) *outbox.Outbox {
	t.Helper()
	o, err := outbox.New(t.Context(), config)
	require.NoError(t, err)
	return o
}

// relaying runs a relay until the test has ended, or stop is called.
func relaying(t testing.TB, o *outbox.Outbox, service *leveret.Service, s leveret.Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- o.Relay(ctx, service, s) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// book is a sender that notes what it gets, and may fail.
type book struct {
	mu   sync.Mutex
	got  map[string][]int // by key
	ids  map[string]int
	fail func(m *leveret.Message, n numbered) error
	all  atomic.Int64
}

func newBook() *book { return &book{got: map[string][]int{}, ids: map[string]int{}} }

func (b *book) Send(ctx context.Context, m *leveret.Message) error {
	n, err := placed.Decode(m.Body)
	if err != nil {
		return err
	}
	if b.fail != nil {
		if err := b.fail(m, n); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Add(1)
	if b.ids[m.ID]++; b.ids[m.ID] == 1 {
		b.got[n.Key] = append(b.got[n.Key], n.N)
	}
	return ctx.Err()
}

func rows(t testing.TB, db *sql.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM leveret_outbox").Scan(&n))
	return n
}

func TestWhatCommitsIsSent(t *testing.T) {
	t.Parallel()
	db, b := database(t), newBook()
	o := made(t, outbox.Config{DB: db})
	ctx := t.Context()
	publish := func(n int) func(*sql.Tx) error {
		return func(tx *sql.Tx) error { return placed.Publish(ctx, outbox.In(tx), numbered{"k", n}) }
	}
	require.NoError(t, o.InTx(ctx, publish(1)))
	relaying(t, o, order, b)
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, time.Minute, time.Millisecond)
	errNo := errors.New("no")
	require.ErrorIs(t, o.InTx(ctx, func(tx *sql.Tx) error {
		require.NoError(t, publish(2)(tx))
		return errNo
	}), errNo)
	require.NoError(t, o.InTx(ctx, publish(3)))
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, map[string][]int{"k": {1, 3}}, b.got)
}

// Two relays, whose sender fails at random and is slow at random: each key in order, nothing twice.
func TestOrderPerKey(t *testing.T) {
	t.Parallel()
	const n, keys = 5000, 50
	path := filepath.Join(t.TempDir(), "t.db")
	db, b := opened(t, path), newBook()
	var tried atomic.Int64
	b.fail = func(*leveret.Message, numbered) error {
		if tried.Add(1)%500 == 0 {
			return leveret.Errorf(leveret.ResourceExhausted, "full")
		}
		if rand.N(100) == 0 {
			<-time.After(rand.N(10 * time.Millisecond))
		}
		return nil
	}
	one, two := made(t, outbox.Config{DB: db, Lease: time.Second}), made(t, outbox.Config{DB: opened(t, path), Lease: time.Second})
	relaying(t, one, order, b)
	relaying(t, two, order, b)
	want := map[string][]int{}
	for i := range n {
		key := fmt.Sprint(i % keys)
		want[key] = append(want[key], i)
		require.NoError(t, one.InTx(t.Context(), func(tx *sql.Tx) error {
			return placed.Publish(t.Context(), outbox.In(tx), numbered{key, i})
		}))
	}
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, 2*time.Minute, 10*time.Millisecond)
	require.Equal(t, want, b.got)
	require.EqualValues(t, n, b.all.Load(), "nothing twice")
}
