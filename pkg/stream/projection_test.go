package stream_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/stream"
)

type numbered struct {
	N int `json:"n"`
}

var (
	placed = leveret.NewEvent[numbered]("order.placed", leveret.Kept(time.Hour, 1_000_000))
	reads  = leveret.NewService("desk", leveret.Reads(placed))
)

// publish publishes events with the numbers from to before to.
func (b *bench) publish(from, to int) {
	b.t.Helper()
	for i := from; i < to; i++ {
		b.raw(fmt.Sprint(i), fmt.Sprintf(`{"n":%d}`, i))
	}
	require.NoError(b.t, b.flush())
}

// tables is a database with a table of the numbers that a projection has seen, in their order.
type tables struct {
	t  *testing.T
	db *sql.DB
}

func open(t *testing.T) *tables {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(60000)")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), "CREATE TABLE seen (place INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL)")
	require.NoError(t, err)
	return &tables{t, db}
}

func (d *tables) inTx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (d *tables) empty(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM seen")
	return err
}

func see(ctx context.Context, tx *sql.Tx, e stream.EventOf[numbered]) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO seen (n) VALUES ($1)", e.Payload.N)
	return err
}

func (d *tables) seen() []int {
	d.t.Helper()
	rows, err := d.db.QueryContext(d.t.Context(), "SELECT n FROM seen ORDER BY place")
	require.NoError(d.t, err)
	defer rows.Close()
	found := []int{}
	for rows.Next() {
		var n int
		require.NoError(d.t, rows.Scan(&n))
		found = append(found, n)
	}
	require.NoError(d.t, rows.Err())
	return found
}

// await waits until the table has so many numbers, and checks that they are from 0 on, in order.
func (d *tables) await(n int) {
	d.t.Helper()
	require.Eventually(d.t, func() bool { return len(d.seen()) >= n }, patience, 20*time.Millisecond)
	require.Equal(d.t, numbers(0, n), d.seen())
}

func numbers(from, to int) []int {
	all := []int{}
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func (d *tables) config(change ...func(*stream.ProjectionConfig)) stream.ProjectionConfig {
	c := stream.ProjectionConfig{Name: "desk-orders", From: stream.First(), InTx: d.inTx, Empty: d.empty}
	for _, f := range change {
		f(&c)
	}
	return c
}

type handler = func(context.Context, *sql.Tx, stream.EventOf[numbered]) error

func (b *bench) projection(c stream.ProjectionConfig, h handler) *stream.Projection {
	b.t.Helper()
	p := stream.NewProjection(b.conn, reads, c)
	stream.On(p, placed, h)
	require.NoError(b.t, p.Err())
	return p
}

// run runs a projection until the test ends, or the function that it returns is called.
func (b *bench) run(p *stream.Projection) (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(b.t, <-ended)
		}
	}
	b.t.Cleanup(stop)
	return stop
}

// state returns the one state of a projection.
func (b *bench) state(p *stream.Projection) stream.State {
	b.t.Helper()
	states, err := p.State(b.ctx)
	require.NoError(b.t, err)
	require.Len(b.t, states, 1)
	return states[0]
}

// goesOn waits until the projection does not stand still.
func (b *bench) goesOn(p *stream.Projection) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return p.Ready() == nil }, patience, 10*time.Millisecond)
}

// standsStill waits until the projection says that, and returns its state.
func (b *bench) standsStill(p *stream.Projection) (s stream.State) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return p.Ready() != nil }, patience, 20*time.Millisecond)
	require.Eventually(b.t, func() bool {
		states, err := p.State(b.ctx)
		if err != nil || len(states) != 1 {
			return false
		}
		s = states[0]
		return s.Trouble != ""
	}, patience, time.Millisecond)
	return s
}

func TestProjection(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 250)
	p := b.projection(d.config(), see)
	stop := b.run(p)
	d.await(250)
	b.publish(250, 300)
	d.await(300)
	s := b.state(p)
	require.Equal(t, name, s.Stream)
	require.Equal(t, s.Ends.Last, s.Position.Offset)
	require.Equal(t, "299", s.Position.ID)
	require.True(t, s.CaughtUp())
	require.Empty(t, s.Trouble)
	require.WithinDuration(t, time.Now(), s.SentAt, time.Hour)
	stop()

	b.publish(300, 310) // while nobody looks
	p = b.projection(d.config(), see)
	require.Equal(t, int64(10), b.state(p).Lag)
	b.run(p)
	d.await(310)
}

// A second projection in the same database begins where it says.
func TestProjectionBeginsWhereItSays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(0, 10)
	for from, want := range map[stream.Place]int{stream.First(): 0, stream.Offset(7): 7, stream.Since(time.Now().Add(-time.Hour)): 0} {
		d := open(t)
		b.run(b.projection(d.config(func(c *stream.ProjectionConfig) { c.From = from }), see))
		require.Eventually(t, func() bool { return len(d.seen()) == 10-want }, patience, 20*time.Millisecond)
		require.Equal(t, numbers(want, 10), d.seen())
	}
}

func TestWrongProjections(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	for says, c := range map[string]stream.ProjectionConfig{
		"Name is":          d.config(func(c *stream.ProjectionConfig) { c.Name = "Orders" }),
		"the zero value":   d.config(func(c *stream.ProjectionConfig) { c.From = stream.Place{} }),
		"InTx is required": d.config(func(c *stream.ProjectionConfig) { c.InTx = nil }),
	} {
		p := stream.NewProjection(b.conn, reads, c)
		stream.On(p, placed, see)
		require.ErrorContains(t, p.Err(), says)
		require.ErrorContains(t, p.Run(b.ctx), says)
		require.ErrorContains(t, p.Rebuild(b.ctx), says)
	}
	p := stream.NewProjection(b.conn, reads, d.config())
	require.ErrorContains(t, p.Err(), "call On")
	stream.On(p, placed, see)
	stream.On(p, placed, see)
	require.ErrorContains(t, p.Err(), "twice")
	p = stream.NewProjection(b.conn, leveret.NewService("other"), d.config())
	stream.On(p, placed, see)
	require.ErrorIs(t, p.Err(), leveret.ErrUndeclared)
	p = b.projection(d.config(func(c *stream.ProjectionConfig) { c.Empty = nil }), see)
	require.ErrorContains(t, p.Rebuild(b.ctx), "does not say how it is emptied")
}

// One event that fails holds up those behind it, and none before it, until it does not fail any more.
func TestEventAtFault(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("planted") },
		"panic": func() error { panic("planted") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, d := setup(t), open(t)
			b.publish(0, 100)
			var mended atomic.Bool
			log := &testmain.Output{}
			p := b.projection(d.config(func(c *stream.ProjectionConfig) { c.Logger = slog.New(slog.NewJSONHandler(log, nil)) }),
				func(ctx context.Context, tx *sql.Tx, e stream.EventOf[numbered]) error {
					if err := see(ctx, tx, e); err != nil || e.Payload.N != 42 || mended.Load() {
						return err
					}
					return fail()
				})
			b.run(p)
			d.await(42)
			s := b.standsStill(p)
			require.Equal(t, "41", s.Position.ID)
			require.Contains(t, s.Trouble, "planted")
			require.Contains(t, s.Trouble, "the event 42 at offset")
			require.WithinDuration(t, time.Now(), s.Since, time.Hour)
			require.Positive(t, s.Lag)
			d.await(42)
			require.Equal(t, 1, strings.Count(log.String(), "stands still"), "however often it is tried")
			accepted, err := p.Accept(b.ctx)
			require.NoError(t, err)
			require.Empty(t, accepted, "no event is missing")
			mended.Store(true)
			d.await(100)
			require.Eventually(t, func() bool { return strings.Contains(log.String(), "goes on") }, patience, 10*time.Millisecond)
			b.goesOn(p)
			require.Empty(t, b.state(p).Trouble)
		})
	}
}

// A body that is none of the contract's stops the stream too.
func TestNotDecoded(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 3)
	b.raw("wrong", `{"n":"three"}`)
	b.publish(3, 5)
	p := b.projection(d.config(), see)
	b.run(p)
	d.await(3)
	require.Contains(t, b.standsStill(p).Trouble, "the event wrong at offset")
	require.Equal(t, numbers(0, 3), d.seen())
}

// Several processes may run a projection. Each event takes effect once, and a rebuild by one of them is noticed by all.
func TestSeveralAtOnce(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	var projections []*stream.Projection
	for range 3 {
		projections = append(projections, b.projection(d.config(), see))
		b.run(projections[len(projections)-1])
	}
	for i := range 10 {
		b.publish(100*i, 100*i+100)
		if i%3 == 2 {
			require.NoError(t, projections[i%3].Rebuild(b.ctx))
		}
	}
	d.await(1000)
	require.NoError(t, projections[0].Rebuild(b.ctx)) // while there is nothing to read
	d.await(1000)
	for _, p := range projections {
		b.goesOn(p)
	}
}

// The process that is not the first to commit goes on with what it has read.
func TestSecondReadsOn(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	log := &testmain.Output{}
	for range 3 {
		b.run(b.projection(d.config(func(c *stream.ProjectionConfig) {
			c.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}), see))
	}
	for i := range 30 {
		b.publish(20*i, 20*i+20)
	}
	d.await(600)
	require.NotContains(t, log.String(), "begins anew")
}

// Events that were deleted before they were read stop the projection, until somebody decides.
func TestGapIsAccepted(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 10)
	p := b.projection(d.config(), see)
	stop := b.run(p)
	d.await(10)
	stop()
	last := b.state(p).Position.Offset
	b.gap(last)
	b.publish(10, 12)

	bodies := func(ctx context.Context, tx *sql.Tx, d stream.EventOf[numbered]) error {
		if d.Payload.N == 0 { // what fill has published
			return nil
		}
		return see(ctx, tx, d)
	}
	p = b.projection(d.config(), bodies)
	b.run(p)
	s := b.standsStill(p)
	require.Contains(t, s.Trouble, "were deleted before they were read")
	require.Equal(t, last, s.Position.Offset)
	require.Equal(t, numbers(0, 10), d.seen())
	accepted, err := p.Accept(b.ctx)
	require.NoError(t, err)
	require.Len(t, accepted, 1)
	var gap *stream.GapError
	require.ErrorAs(t, accepted[0], &gap)
	d.await(12)
	b.goesOn(p)
}

// A stream that was declared again is another one.
func TestReplacedIsAcceptedOrRebuilt(t *testing.T) {
	t.Parallel()
	for _, rebuilt := range []bool{false, true} {
		t.Run(fmt.Sprint(rebuilt), func(t *testing.T) {
			t.Parallel()
			b, d := setup(t), open(t)
			b.publish(0, 10)
			p := b.projection(d.config(), see)
			b.run(p)
			d.await(10)
			b.remove() // the projection declares it again
			require.Eventually(t, func() bool { return p.Ready() != nil }, patience, 10*time.Millisecond)
			b.declare()
			b.publish(10, 30)
			var replaced *stream.ReplacedError
			require.Eventually(t, func() bool { return errors.As(p.Ready(), &replaced) }, patience, 10*time.Millisecond)
			require.Equal(t, "9", replaced.ID)
			if rebuilt {
				require.NoError(t, p.Rebuild(b.ctx))
				require.Eventually(t, func() bool { return len(d.seen()) == 20 }, patience, 20*time.Millisecond)
				require.Equal(t, numbers(10, 30), d.seen())
				return
			}
			accepted, err := p.Accept(b.ctx)
			require.NoError(t, err)
			require.ErrorAs(t, accepted[0], &replaced)
			d.await(30)
		})
	}
}

func TestProjectionMetrics(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 10)
	reader := metric.NewManualReader()
	var broken atomic.Bool
	var tries atomic.Int64
	p := b.projection(d.config(func(c *stream.ProjectionConfig) {
		c.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader))
	}), func(ctx context.Context, tx *sql.Tx, e stream.EventOf[numbered]) error {
		if broken.Load() {
			tries.Add(1)
			return errors.New("planted")
		}
		return see(ctx, tx, e)
	})
	b.run(p)
	d.await(10)
	values := func() map[string]float64 {
		var found metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(b.ctx, &found))
		got := map[string]float64{}
		for _, s := range found.ScopeMetrics {
			for _, m := range s.Metrics {
				switch data := m.Data.(type) {
				case metricdata.Gauge[int64]:
					got[m.Name] = float64(data.DataPoints[0].Value)
				case metricdata.Gauge[float64]:
					got[m.Name] = data.DataPoints[0].Value
				case metricdata.Sum[int64]:
					got[m.Name] = float64(data.DataPoints[0].Value)
				}
			}
		}
		return got
	}
	want := map[string]float64{
		"leveret.projection.position": float64(b.state(p).Position.Offset), "leveret.projection.applied": 10,
		"leveret.projection.lag": 0, "leveret.projection.delay": 0, "leveret.projection.stopped": 0,
	}
	require.Eventually(t, func() bool { return reflect.DeepEqual(want, values()) }, patience, 10*time.Millisecond)
	broken.Store(true)
	b.publish(10, 12)
	b.standsStill(p)
	for from := tries.Load(); tries.Load() < from+3; { // it stays like that, however often it is tried
		got := values()
		require.InDelta(t, 1, got["leveret.projection.stopped"], 0)
		require.GreaterOrEqual(t, got["leveret.projection.lag"], 1.0)
		require.Positive(t, got["leveret.projection.delay"])
	}
	b.remove()
	require.Eventually(t, func() bool { return errors.Is(p.Ready(), rabbit.ErrNotFound) }, patience, 10*time.Millisecond)
	b.declare()
	b.publish(0, 1)
	require.Eventually(t, func() bool { return values()["leveret.projection.lag"] == 0 }, patience, 10*time.Millisecond, "it is shorter now")
	require.ErrorContains(t, p.Ready(), "stands still")
}

// What is behind a position that a stream does not have is not known.
func TestStreamThatEndsBeforeThePosition(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 10)
	p := b.projection(d.config(), see)
	stop := b.run(p)
	d.await(10)
	stop()
	b.remove()
	b.declare()
	s := b.state(p)
	require.True(t, s.Ends.Empty)
	require.False(t, s.CaughtUp())
	accepted, err := p.Accept(b.ctx)
	require.ErrorIs(t, err, stream.ErrUndecided)
	require.Empty(t, accepted)

	b.publish(10, 13)
	s = b.state(p)
	require.Equal(t, stream.Ends{Last: 2}, s.Ends)
	require.False(t, s.CaughtUp())
	accepted, err = p.Accept(b.ctx)
	require.NoError(t, err)
	require.Len(t, accepted, 1)
	require.ErrorAs(t, accepted[0], new(*stream.ReplacedError))
	b.run(p)
	d.await(13)
}

// That nothing comes is no proof that nothing is missing: the alarm stays.
func TestAlarmStays(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 10)
	stop := b.run(b.projection(d.config(), see))
	d.await(10)
	stop()
	b.remove()
	b.declare()
	b.publish(10, 13)
	log := &testmain.Output{}
	var looks atomic.Int64
	p := b.projection(d.config(func(c *stream.ProjectionConfig) {
		c.Logger = slog.New(slog.NewJSONHandler(log, nil))
		c.InTx = func(ctx context.Context, f func(*sql.Tx) error) error {
			looks.Add(1)
			return d.inTx(ctx, f)
		}
	}), see)
	b.run(p)
	require.Eventually(t, func() bool { return errors.As(p.Ready(), new(*stream.ReplacedError)) }, patience, 10*time.Millisecond)
	from := looks.Load() // there is one each second
	require.Eventually(t, func() bool { return looks.Load() > from+25 }, patience, 10*time.Millisecond)
	require.ErrorAs(t, p.Ready(), new(*stream.ReplacedError))
	require.NotContains(t, log.String(), "goes on")
}

// What was wrong is over once the last event is seen again, though there is nothing to apply.
func TestGoesOnWithNothingToApply(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 10)
	var away atomic.Bool
	p := b.projection(d.config(func(c *stream.ProjectionConfig) {
		c.InTx = func(ctx context.Context, f func(*sql.Tx) error) error {
			if away.Load() {
				return errors.New("the database is away")
			}
			return d.inTx(ctx, f)
		}
	}), see)
	b.run(p)
	d.await(10)
	b.goesOn(p)
	away.Store(true)
	require.Eventually(t, func() bool { return p.Ready() != nil }, patience, 10*time.Millisecond)
	away.Store(false)
	b.goesOn(p)
}

// A recorded body of an older version is read as one of today, and takes effect as one.
func TestOlderEvents(t *testing.T) {
	t.Parallel()
	old, err := os.ReadFile("testdata/older/placed-1.json")
	require.NoError(t, err)
	b, d := setup(t), open(t)
	today := leveret.NewEvent[numbered]("order.placed", leveret.Kept(time.Hour, 1_000_000), leveret.Older(func(body []byte) []byte {
		var was struct {
			Number string `json:"number"`
		}
		if json.Unmarshal(body, &was) != nil || was.Number == "" {
			return nil
		}
		return []byte(`{"n":` + was.Number + `}`)
	}))
	b.raw("0", string(old))
	b.publish(1, 2)
	p := stream.NewProjection(b.conn, leveret.NewService("desk", leveret.Reads(today)), d.config())
	stream.On(p, today, see)
	require.Equal(t, []leveret.Contract{today}, p.Events())
	b.run(p)
	d.await(2)
}

// A projection ends with its connection.
func TestProjectionEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	b, d := setup(t), open(t)
	b.publish(0, 5)
	p := b.projection(d.config(), see)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(b.ctx) }()
	d.await(5)
	require.NoError(t, b.publisher.Close(b.ctx))
	require.NoError(t, b.conn.Close(b.ctx))
	select {
	case err := <-ended:
		require.ErrorIs(t, err, leveret.ErrClosed)
	case <-time.After(patience):
		require.Fail(t, "it does not end")
	}
}
