package stream

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// together is how many events share a transaction at most.
	together = 100
	// watch is how often a projection that has nothing to do looks whether somebody has moved its position.
	watch = time.Second
	// healthy is how many times in a row a reader must have had nothing to apply before nothing counts as wrong any more.
	healthy = 15
	// firstPause and longestPause are the pauses before what has failed is tried again.
	firstPause, longestPause = time.Second, time.Minute
)

// A feed brings the events of one stream into a projection.
type feed struct {
	p      *Projection
	event  leveret.Contract
	stream string
	apply  func(context.Context, *sql.Tx, Event) error
	row    row
	log    *slog.Logger

	mu sync.Mutex
	standing
}

// standing is how a feed of this process stands.
type standing struct {
	progress
	failures int       // one after the other
	err      error     // the last of them; nil where it reads
	failed   time.Time // when it began to stand still
	end      int64     // the offset of the last event in the stream, as far as is known
}

// run applies events until ctx ends or the connection is closed.
func (f *feed) run(ctx context.Context) error {
	f.change(func(s *standing) { s.progress, s.end = progress{Position: Position{Offset: None}}, None })
	for {
		err := f.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // what fails then has been told to end
		case errors.Is(err, leveret.ErrClosed):
			return err
		case errors.Is(err, errMoved):
			f.log.DebugContext(ctx, "the position was moved back; reading begins anew from there")
		default:
			f.pause(ctx, f.fail(ctx, err))
		}
	}
}

// follow reads the stream from the stored position on, and applies what it reads, until something goes wrong.
func (f *feed) follow(ctx context.Context) error {
	at, err := f.row.read(ctx)
	if err != nil {
		return err
	}
	f.arrive(ctx, at)
	r := f.reader(at.Position)
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan Event, together)
	var ended error // why there are no more events
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(events)
		ended = f.read(ctx, r, events)
	})
	defer reading.Wait()
	defer cancel()

	for position, quietly := at.Position, 0; ; {
		batch, open := next(events)
		switch {
		case len(batch) > 0:
			position, err = f.take(ctx, position, batch)
			quietly = 0
		case !open:
			return ended
		default:
			position, err = f.overtaken(ctx, position)
			if quietly++; !r.joined.Load() {
				quietly = 0
			}
		}
		if err != nil {
			return err
		}
		if quietly >= healthy {
			f.heal(ctx, position)
		}
	}
}

// take applies the events of a batch that come behind a position, and returns the new one.
func (f *feed) take(ctx context.Context, at Position, batch []Event) (Position, error) {
	for {
		var err error
		if batch, err = behind(at, batch); err != nil || len(batch) == 0 {
			return at, err
		}
		if at, err = f.advance(ctx, at, batch); errors.Is(err, errMoved) {
			at, err = f.overtaken(ctx, at)
		}
		if err != nil {
			return at, err
		}
	}
}

// behind returns the events of a batch that come behind a position, and errMoved if the position is that of another stream.
func behind(at Position, batch []Event) ([]Event, error) {
	for i, e := range batch {
		switch {
		case e.Offset > at.Offset:
			return batch[i:], nil
		case e.Offset == at.Offset && at.ID != "" && positionOf(e) != at:
			return nil, errMoved
		}
	}
	return nil, nil
}

// overtaken returns the stored position, where another process has moved it forward. Its error is errMoved where reading has
// to begin anew, as after a rebuild.
func (f *feed) overtaken(ctx context.Context, at Position) (Position, error) {
	now, err := f.row.read(ctx)
	switch {
	case err != nil:
		return at, err
	case now.Position == at:
		f.change(func(s *standing) { s.trouble, s.since = now.trouble, now.since }) // perhaps that of another process
		return at, nil
	case now.Offset <= at.Offset:
		return at, errMoved
	}
	f.arrive(ctx, now)
	return now.Position, nil
}

// arrive notes a position. What was wrong at another one is over.
func (f *feed) arrive(ctx context.Context, at progress) {
	stood := false
	f.change(func(s *standing) {
		if s.Position != at.Position {
			stood = s.err != nil
			s.failures, s.err = 0, nil
		}
		s.progress, s.end = at, max(s.end, at.Offset)
	})
	if stood {
		f.log.InfoContext(ctx, "the projection goes on", "offset", at.Offset)
	}
}

// heal notes that nothing is wrong, though there was nothing to apply. That the last event is there again refutes that the
// stream was replaced, but one without an id proves nothing.
func (f *feed) heal(ctx context.Context, at Position) {
	s := f.stands()
	if s.err == nil && s.trouble == "" || lost(s.err) && at.ID == "" {
		return
	}
	if err := f.row.complain(ctx, at, "", time.Time{}); err != nil {
		f.log.DebugContext(ctx, "cannot store that the projection goes on", "error", err)
		return // it is tried again
	}
	f.change(func(s *standing) { s.failures, s.err, s.trouble = 0, nil, "" })
	f.log.InfoContext(ctx, "the projection goes on", "offset", at.Offset)
}

// read hands over the events that a reader has, until ctx ends or it fails.
func (f *feed) read(ctx context.Context, r *Reader, to chan<- Event) error {
	if err := f.declare(ctx); err != nil {
		return err
	}
	defer r.Close(ctx)
	for {
		e, err := r.Next(ctx)
		if err != nil {
			return err
		}
		f.change(func(s *standing) { s.end = max(s.end, e.Offset) })
		select {
		case to <- e:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// declare declares the stream, once more where it was missing the last time. It waits for the connection.
func (f *feed) declare(ctx context.Context) error {
	conn := f.p.conn
	t := leveret.NewService(f.p.service.Name(), leveret.Reads(f.event)).Topology(conn.Names(), "")
	if errors.Is(f.stands().err, rabbit.ErrNotFound) {
		conn.Forget(t)
	}
	for {
		if err := conn.Await(ctx); err != nil {
			return err
		}
		if err := conn.Declare(ctx, t); !errors.Is(err, leveret.ErrNotConnected) || errors.Is(err, leveret.ErrClosed) {
			return err
		}
		contexts.Sleep(ctx, again)
	}
}

func (f *feed) reader(at Position) *Reader {
	if at.Offset == None {
		return NewReader(f.p.conn.Rabbit(), f.stream, f.p.config.From, f.log)
	}
	return Resume(f.p.conn.Rabbit(), f.stream, at, f.log)
}

// next returns the events that are here, after waiting for the first one for a while. It returns false if there will be no
// more.
func next(events <-chan Event) (batch []Event, open bool) {
	select {
	case e, ok := <-events:
		if !ok {
			return nil, false
		}
		batch = append(batch, e)
	case <-time.After(watch):
		return nil, true
	}
	for len(batch) < together {
		select {
		case e, ok := <-events:
			if !ok {
				return batch, false
			}
			batch = append(batch, e)
		default:
			return batch, true
		}
	}
	return batch, true
}

// advance applies events, and returns the new position. If they cannot be applied together, they are applied one by one, so
// that those before the one at fault are done.
func (f *feed) advance(ctx context.Context, at Position, batch []Event) (Position, error) {
	err := f.commit(ctx, at, batch)
	switch {
	case err == nil:
		return positionOf(batch[len(batch)-1]), nil
	case len(batch) == 1, errors.Is(err, errMoved), ctx.Err() != nil:
		return at, err
	}
	for _, e := range batch {
		if err := f.commit(ctx, at, []Event{e}); err != nil {
			return at, err
		}
		at = positionOf(e)
	}
	return at, nil
}

// commit applies events and moves the position behind them, in one transaction.
func (f *feed) commit(ctx context.Context, at Position, batch []Event) error {
	last := batch[len(batch)-1]
	err := f.p.config.InTx(ctx, func(tx *sql.Tx) error {
		if err := f.row.move(ctx, tx, at, last); err != nil {
			return err
		}
		for _, e := range batch {
			if err := f.handle(ctx, tx, e); err != nil {
				return fmt.Errorf("the event %s at offset %d: %w", e.MessageId, e.Offset, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.arrive(ctx, progress{Position: positionOf(last), sentAt: last.Sent()})
	f.p.applied.Add(ctx, int64(len(batch)), f.attributes())
	return nil
}

// handle calls the handler, and turns a panic into an error.
func (f *feed) handle(ctx context.Context, tx *sql.Tx, e Event) (err error) {
	defer func() {
		if v := recover(); v != nil {
			f.log.ErrorContext(ctx, "the projection's handler panicked", "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("the handler panicked: %v", v)
		}
	}()
	return f.apply(ctx, tx, e)
}

// fail notes that the feed stands still, and returns how long it is to wait. What it says is logged and written down when
// that is new. Events that are missing stay missing, whatever else fails at the same position.
func (f *feed) fail(ctx context.Context, err error) time.Duration {
	var now standing
	changed := false
	f.change(func(s *standing) {
		if lost(s.err) && !lost(err) {
			f.log.DebugContext(ctx, "the projection stands still for another reason, too", "error", err)
			err = s.err
		}
		changed = s.err == nil || s.err.Error() != err.Error()
		if s.err == nil {
			s.failed = time.Now()
		}
		s.failures++
		s.err = err
		now = *s
	})
	if changed {
		f.log.ErrorContext(ctx, "the projection stands still", "offset", now.Offset, "error", err, "remedy", remedy(err))
	}
	if changed || now.failures%10 == 0 { // the database may have been away
		if err := f.row.complain(ctx, now.Position, err.Error(), now.failed); err != nil {
			f.log.DebugContext(ctx, "cannot store why the projection stands still", "error", err)
		}
	}
	return min(firstPause<<min(now.failures-1, 10), longestPause)
}

// remedy says what has to happen for a projection to go on.
func remedy(err error) string {
	if lost(err) {
		return "rebuild it, or accept that the events are missing"
	}
	return "it is tried again"
}

// lost reports whether events are missing for good.
func lost(err error) bool {
	_, gap := errors.AsType[*GapError](err)
	_, replaced := errors.AsType[*ReplacedError](err)
	return gap || replaced
}

// pause waits, but not longer than until somebody moves the position.
func (f *feed) pause(ctx context.Context, d time.Duration) {
	at := f.stands().Position
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		contexts.Sleep(ctx, min(watch, time.Until(end)))
		if now, err := f.row.read(ctx); err == nil && now.Position != at {
			return
		}
	}
}

// survey finds out from time to time where the stream ends, while there is something left to read.
func (f *feed) survey(ctx context.Context) {
	for ; ctx.Err() == nil; contexts.Sleep(ctx, surveys) {
		before := f.stands()
		if before.err == nil && before.end <= before.Offset {
			continue
		}
		ends, err := Look(ctx, f.p.conn.Rabbit(), f.stream)
		if err != nil {
			continue // what reads says what is wrong
		}
		if ends.Empty {
			ends.Last = None
		}
		f.change(func(s *standing) {
			if s.end == before.end || s.end < ends.Last { // else more was read meanwhile
				s.end = ends.Last
			}
		})
	}
}

// surveys is how often survey looks.
const surveys = 15 * time.Second

func (f *feed) change(do func(*standing)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.standing)
}

func (f *feed) stands() standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.standing
}
