package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

type numbered struct {
	Key string `json:"key"`
	N   int    `json:"n"`
}

var (
	placed  = leveret.NewEvent[numbered]("order.placed", leveret.Key(func(n numbered) string { return n.Key }))
	noted   = leveret.NewEvent[numbered]("desk.noted")
	counted = leveret.NewEvent[numbered]("desk.counted", leveret.Key(func(n numbered) string { return n.Key }))
	order   = leveret.NewService("order", leveret.Publishes(placed))
)

// database returns a database of its own, without a table.
func database(t testing.TB) *sql.DB {
	t.Helper()
	return opened(t, newSource(t))
}

// opened returns connections to a database, as another process would have them.
func opened(t testing.TB, source string) *sql.DB {
	t.Helper()
	db, err := open(source)
	require.NoError(t, err)
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

// Two relays, whose sender fails at random and is slow at random: each key in order.
func TestOrderPerKey(t *testing.T) {
	t.Parallel()
	const n, keys = 5000, 50
	source := newSource(t)
	db, b := opened(t, source), newBook()
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
	one, two := made(t, outbox.Config{DB: db, Lease: time.Second}), made(t, outbox.Config{DB: opened(t, source), Lease: time.Second})
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
}

// A message that can never be sent is set aside, with those behind it, until somebody decides; other keys go on.
func TestSetAside(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	var fixed atomic.Bool
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.Key == "bad" && n.N%2 == 0 && !fixed.Load() {
			return leveret.Errorf(leveret.InvalidArgument, "number %d is wrong", n.N)
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	relaying(t, o, order, b)
	for i := range 6 {
		require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
			return errors.Join(placed.Publish(ctx, outbox.In(tx), numbered{"bad", i}, leveret.MessageID(fmt.Sprint("bad-", i))),
				placed.Publish(ctx, outbox.In(tx), numbered{"good", i}))
		}))
	}
	aside := func() []*outbox.Entry {
		found, err := o.List(ctx, outbox.Aside, 10)
		require.NoError(t, err)
		return found
	}
	require.Eventually(t, func() bool { return len(aside()) == 1 && rows(t, db) == 6 }, time.Minute, time.Millisecond)
	e := aside()[0]
	require.Equal(t, "bad-0", e.ID)
	require.Equal(t, 1, e.Tries)
	require.Contains(t, e.Trouble, "number 0 is wrong")
	require.ErrorIs(t, o.Skip(ctx, "bad-1"), leveret.FailedPrecondition, "it waits behind")
	require.ErrorIs(t, o.Skip(ctx, "none"), leveret.NotFound)

	require.NoError(t, o.Skip(ctx, "bad-0"))
	require.Eventually(t, func() bool { a := aside(); return len(a) == 1 && a[0].ID == "bad-2" }, time.Minute, time.Millisecond)
	require.NoError(t, o.Retry(ctx, "bad-2"))
	require.Eventually(t, func() bool { a := aside(); return len(a) == 1 && a[0].Tries == 2 }, time.Minute, time.Millisecond)
	fixed.Store(true)
	require.NoError(t, o.Retry(ctx, "bad-2"))
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, map[string][]int{"good": {0, 1, 2, 3, 4, 5}, "bad": {1, 2, 3, 4, 5}}, b.got)
}

// What is sent later can be moved and cancelled in a transaction, and is sent when its time has come.
func TestLater(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	o := made(t, outbox.Config{DB: db})
	relaying(t, o, order, b)
	later := func(n int, id string) func(*sql.Tx) error {
		return func(tx *sql.Tx) error {
			return placed.Publish(ctx, outbox.In(tx), numbered{"k", n}, leveret.MessageID(id), leveret.After(time.Hour))
		}
	}
	require.NoError(t, o.InTx(ctx, later(1, "one")))
	require.NoError(t, o.InTx(ctx, later(2, "two")))
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error { return placed.Publish(ctx, outbox.In(tx), numbered{"k", 3}) }))
	require.Eventually(t, func() bool { return rows(t, db) == 2 }, time.Minute, time.Millisecond, "it does not wait for them")
	found, err := o.List(ctx, outbox.Later, 10)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.WithinDuration(t, time.Now().Add(time.Hour), found[0].DueAt, 2*time.Minute)

	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error { return outbox.Cancel(ctx, tx, "one") }))
	require.ErrorIs(t, o.InTx(ctx, func(tx *sql.Tx) error { return outbox.Cancel(ctx, tx, "one") }), leveret.NotFound)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error { return outbox.Move(ctx, tx, "two", time.Now()) }))
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, map[string][]int{"k": {3, 2}}, b.got)
}

// A message that is delivered twice, or to two workers at once, has one effect, and what it sends goes out once.
func TestOnce(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	_, err := db.ExecContext(ctx, "CREATE TABLE effects (n INTEGER)")
	require.NoError(t, err)
	o := made(t, outbox.Config{DB: db})
	var calls atomic.Int64
	refuse := errors.New("refused")
	h := o.Once(func(ctx context.Context, m *leveret.Message) error {
		n, err := placed.Decode(m.Body)
		require.NoError(t, err)
		_, err = outbox.Tx(ctx).ExecContext(ctx, "INSERT INTO effects VALUES ($1)", n.N)
		require.NoError(t, err)
		require.NoError(t, placed.Publish(ctx, outbox.In(outbox.Tx(ctx)), numbered{"effect", n.N}))
		if calls.Add(1) <= 2 {
			return refuse
		}
		return nil
	})
	m, err := placed.Message(ctx, numbered{"k", 7})
	require.NoError(t, err)
	require.ErrorIs(t, h(ctx, m), refuse)
	require.ErrorIs(t, h(ctx, m), refuse)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { require.NoError(t, h(ctx, m)) })
	}
	all.Wait()
	require.EqualValues(t, 3, calls.Load())
	var n int
	require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM effects").Scan(&n))
	require.Equal(t, 1, n)
	relaying(t, o, order, b)
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, map[string][]int{"effect": {7}}, b.got)

	other := *m
	other.Queue = "another"
	require.NoError(t, h(ctx, &other))
	require.EqualValues(t, 4, calls.Load(), "another subscription has its own effect")
}

// A relay that can no longer keep its lease stops, and another one goes on.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	source := newSource(t)
	first, second := opened(t, source), opened(t, source)
	b, ctx := newBook(), t.Context()
	one := made(t, outbox.Config{DB: first, Lease: time.Second})
	two := made(t, outbox.Config{DB: second, Lease: time.Second})
	relaying(t, one, order, b)
	publish := func(n int) {
		require.NoError(t, two.InTx(ctx, func(tx *sql.Tx) error { return placed.Publish(ctx, outbox.In(tx), numbered{fmt.Sprint(n % 9), n}) }))
	}
	for n := range 100 {
		publish(n)
	}
	require.Eventually(t, func() bool { return rows(t, second) == 0 }, time.Minute, time.Millisecond)
	require.NoError(t, first.Close()) // as if the process were dead: it gives up nothing
	for n := range 100 {
		publish(n)
	}
	relaying(t, two, order, b)
	require.Eventually(t, func() bool { return rows(t, second) == 0 }, time.Minute, time.Millisecond)
	require.Len(t, b.ids, 200)
	var owners, relays int
	require.NoError(t, second.QueryRowContext(ctx, "SELECT count(DISTINCT owner) FROM leveret_outbox_slots").Scan(&owners))
	require.NoError(t, second.QueryRowContext(ctx, "SELECT count(*) FROM leveret_outbox_relays").Scan(&relays))
	require.Equal(t, 1, owners)
	require.Equal(t, 1, relays)
}

// Headers of every type come out as they went in.
func TestHeaders(t *testing.T) {
	t.Parallel()
	db, ctx := database(t), t.Context()
	o := made(t, outbox.Config{DB: db})
	headers := map[string]any{
		"text": "t\x00\u2028é", "odd": "\xff", "true": true, "null": nil, "int64": int64(1) << 62, "int32": int32(-7), "int16": int16(-7), "int8": int8(-7),
		"uint8": uint8(200), "uint16": uint16(60000), "uint32": uint32(4e9), "int": 7, "float32": float32(0.1), "float64": 0.1, "bytes": []byte{0, 255},
		"time": time.Unix(1_750_000_000, 0).UTC(), "list": []any{int64(1), "two", []any{int8(3)}}, "decimal": rabbit.Decimal{Scale: 2, Value: 999},
		"table": rabbit.Table{"in": int16(4), "deep": rabbit.Table{"x": nil}},
	}
	options := []leveret.SendOption{leveret.Priority(7), leveret.Conversation("talk")}
	for name, value := range headers {
		options = append(options, leveret.Header(name, value))
	}
	sent, err := placed.Message(ctx, numbered{"k", 7}, options...)
	require.NoError(t, err)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error { return outbox.In(tx).Send(ctx, sent) }))
	got := make(chan *leveret.Message, 1)
	relaying(t, o, order, senderFunc(func(_ context.Context, m *leveret.Message) error {
		got <- m
		return nil
	}))
	m := <-got
	require.True(t, sent.SentAt.Equal(m.SentAt))
	require.Equal(t, headers, m.Headers)
	m.SentAt, m.Headers = sent.SentAt, sent.Headers
	require.Equal(t, sent, m)
}

type senderFunc func(context.Context, *leveret.Message) error

func (f senderFunc) Send(ctx context.Context, m *leveret.Message) error { return f(ctx, m) }

// Where a transaction is repeated, what its handler sends has the same ids again.
func TestOnceRepeated(t *testing.T) {
	t.Parallel()
	db, ctx := database(t), t.Context()
	config := outbox.Config{DB: db}
	config.InTx = func(ctx context.Context, f func(*sql.Tx) error) error {
		for again := false; ; again = true {
			tx, err := db.BeginTx(ctx, nil)
			require.NoError(t, err)
			require.NoError(t, f(tx))
			if again {
				return tx.Commit()
			}
			require.NoError(t, tx.Rollback())
		}
	}
	o := made(t, config)
	direct := &leverettest.Recorder{}
	desk := leveret.NewService("desk", leveret.SubscribesTo(placed), leveret.Publishes(noted))
	h := leveret.NewHandlers(desk, leveret.HandlersConfig{Middleware: []leveret.Middleware{o.Once}})
	placed.Subscribe(h, func(ctx context.Context, n numbered) error {
		return errors.Join(noted.Publish(ctx, direct, n), noted.Publish(ctx, outbox.In(outbox.Tx(ctx)), n))
	})
	d := leverettest.Deliver(ctx, h, placed, numbered{"k", 7})
	require.NoError(t, d.Err)
	sent := direct.Messages()
	require.Len(t, sent, 2)
	require.Equal(t, sent[0].ID, sent[1].ID)
	ready, err := o.List(ctx, outbox.Ready, 10)
	require.NoError(t, err)
	require.Len(t, ready, 1)
	require.NotEqual(t, sent[0].ID, ready[0].ID)
}

// Neither a key with many messages, nor a contract that cannot be sent now, holds up others.
func TestOthersGoOn(t *testing.T) {
	t.Parallel()
	db, ctx := database(t), t.Context()
	o := made(t, outbox.Config{DB: db})
	store := func(many int, publish func(in leveret.Sender, n int) error) {
		require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
			for n := range many {
				if err := publish(outbox.In(tx), n); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	desk := leveret.NewService("desk", leveret.Publishes(noted, counted))
	store(5000, func(in leveret.Sender, n int) error { return counted.Publish(ctx, in, numbered{fmt.Sprint(n), n}) })
	store(5000, func(in leveret.Sender, n int) error { return noted.Publish(ctx, in, numbered{"", n}) })
	store(1, func(in leveret.Sender, _ int) error { return noted.Publish(ctx, in, numbered{"", 5000}) })

	var full atomic.Bool
	full.Store(true)
	var got atomic.Int64
	relaying(t, o, desk, senderFunc(func(_ context.Context, m *leveret.Message) error {
		if m.Contract == leveret.Contract(counted) && full.Load() {
			return leveret.Errorf(leveret.ResourceExhausted, "the queue is full")
		}
		got.Add(1)
		return nil
	}))
	require.Eventually(t, func() bool { return rows(t, db) == 5000 }, 2*time.Minute, 10*time.Millisecond)
	require.EqualValues(t, 5001, got.Load())
	require.Eventually(t, func() bool {
		s, err := o.Status(ctx)
		return err == nil && len(s.Trouble) == 1 && s.Counts[outbox.Ready] == 5000 && s.Counts[outbox.Aside] == 0
	}, 2*time.Minute, 10*time.Millisecond, "nothing has failed for good, and it is known why it waits")
	full.Store(false)
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, 3*time.Minute, 10*time.Millisecond)
}

// A message of another key does not wait for a long queue of one key.
func TestLongKey(t *testing.T) {
	t.Parallel()
	const n = 3000
	db, ctx := database(t), t.Context()
	o := made(t, outbox.Config{DB: db})
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		for i := range n {
			if err := placed.Publish(ctx, outbox.In(tx), numbered{"long", i}); err != nil {
				return err
			}
		}
		return placed.Publish(ctx, outbox.In(tx), numbered{"other", n})
	}))
	var before atomic.Int64
	release := make(chan struct{})
	other := make(chan struct{})
	b := newBook()
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.Key == "other" {
			close(other)
		} else if before.Add(1) == 100 {
			<-release
		}
		return nil
	}
	relaying(t, o, order, b)
	<-other
	close(release)
	require.Eventually(t, func() bool { return rows(t, db) == 0 }, 3*time.Minute, 10*time.Millisecond)
	require.Len(t, b.got["long"], n)
	require.IsIncreasing(t, b.got["long"])
}
