package stream

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A State is how far a projection has come with one stream.
type State struct {
	Stream string
	// Position is that of the event that was applied last. Its offset is [None] before the first one.
	Position Position
	// SentAt is when that event was sent. It is zero before the first one, and where a foreign sender did not say.
	SentAt time.Time
	// Ends are those of the stream.
	Ends Ends
	// Lag is how many events are still to be applied: a few less, since offsets have holes, and less where the projection
	// begins at a time. It is 0 once it has caught up, and -1 where Ends is not known, or is before Position: then the stream is
	// another one, or the replica that was asked is behind.
	Lag int64
	// Trouble says why the projection stands still, since Since; it is empty where it does not. It is what the process that
	// reads has written down.
	Trouble string
	Since   time.Time
}

// CaughtUp reports whether everything that was in the stream has been applied.
func (s State) CaughtUp() bool { return s.Lag == 0 }

// State returns how far the projection has come with each stream, whichever process runs it. It takes as long as [Look]. If
// the broker or one stream cannot be read, State returns the rest beside the error.
func (p *Projection) State(ctx context.Context) ([]State, error) {
	if err := p.Err(); err != nil {
		return nil, err
	}
	states, errs := make([]State, len(p.feeds)), make([]error, len(p.feeds))
	var all sync.WaitGroup
	for i, f := range p.feeds {
		all.Go(func() { states[i], errs[i] = f.state(ctx) })
	}
	all.Wait()
	return states, errors.Join(errs...)
}

func (f *feed) state(ctx context.Context) (State, error) {
	s := State{Stream: f.stream, Position: Position{Offset: None}, Lag: -1}
	now, err := f.row.read(ctx)
	if err != nil {
		return s, err
	}
	s.Position, s.SentAt, s.Trouble, s.Since = now.Position, now.sentAt, now.trouble, now.since
	if s.Ends, err = Look(ctx, f.p.conn.Rabbit(), f.stream); err != nil {
		return s, fmt.Errorf("the stream %s: %w", f.stream, err)
	}
	s.Lag = f.lag(now.Position, s.Ends)
	return s, nil
}

// lag returns how many events are behind a position; -1 where the stream does not come so far.
func (f *feed) lag(at Position, ends Ends) int64 {
	switch {
	case at.Offset != None && (ends.Empty || ends.Last < at.Offset):
		return -1
	case ends.Empty:
		return 0
	}
	if from, ok := f.p.config.From.argument.(int64); ok && at.Offset == None {
		at.Offset = from - 1
	}
	return max(ends.Last-max(at.Offset, ends.First-1), 0)
}

// Accept has the projection go on although events are missing: behind a gap with what is left of the stream, and with a
// stream that was replaced from the place where the projection began first. It returns what it has accepted, which is
// nothing where nothing is missing. Its tables stay as they are.
//
// It waits for the broker while ctx lives, and looks at all streams at once, which takes no time where the last event is
// there, and half a minute where a stream ends before it. The error is [ErrUndecided] where the broker shows too little, such
// as of a new stream that has no event yet; the other streams are accepted.
func (p *Projection) Accept(ctx context.Context) (accepted []error, err error) {
	if err := p.Err(); err != nil {
		return nil, err
	}
	missing, errs := make([]error, len(p.feeds)), make([]error, len(p.feeds))
	var all sync.WaitGroup
	for i, f := range p.feeds {
		all.Go(func() { missing[i], errs[i] = f.accept(ctx) })
	}
	all.Wait()
	return slices.DeleteFunc(missing, func(err error) bool { return err == nil }), errors.Join(errs...)
}

// accept returns what it has accepted; nil if nothing is missing.
func (f *feed) accept(ctx context.Context) (missing, err error) {
	now, err := f.row.read(ctx)
	if err != nil || now.Offset == None {
		return nil, err
	}
	r := f.reader(now.Position)
	missing = r.verify(ctx)
	r.Close(ctx)
	if !lost(missing) { // nil too
		return nil, missing
	}
	to := Position{Offset: None}
	if gap, ok := errors.AsType[*GapError](missing); ok {
		to.Offset = gap.Next - 1
	}
	err = f.p.config.InTx(ctx, func(tx *sql.Tx) error { return f.row.update(ctx, tx, now.Position, to, micros(now.sentAt)) })
	if err != nil {
		return nil, fmt.Errorf("the stream %s: %w", f.stream, err)
	}
	return missing, nil
}

// Ready returns why the projection stands still in this process; nil where it does not.
func (p *Projection) Ready() error {
	var errs []error
	for _, f := range p.feeds {
		if s := f.stands(); s.err != nil {
			errs = append(errs, fmt.Errorf("%s: stands still at offset %d since %s: %w",
				f.stream, s.Offset, s.failed.UTC().Format(time.RFC3339), s.err))
		}
	}
	return errors.Join(errs...)
}

const scope = "github.com/leveretmq/leveret/pkg/stream"

// measure makes the counter. The gauges are those of Run.
func (p *Projection) measure() (err error) {
	p.applied, err = p.config.MeterProvider.Meter(scope).Int64Counter("leveret.projection.applied",
		metric.WithUnit("{event}"), metric.WithDescription("Events that a projection has applied."))
	return err
}

// observe reports where each stream stands, until it is unregistered.
func (p *Projection) observe() (metric.Registration, error) {
	m := p.config.MeterProvider.Meter(scope)
	position, err1 := m.Int64ObservableGauge("leveret.projection.position",
		metric.WithDescription("The offset of the event that a projection has applied last; -1 before the first."))
	lag, err2 := m.Int64ObservableGauge("leveret.projection.lag", metric.WithUnit("{event}"),
		metric.WithDescription("How many events a projection has still to apply, as far as is known."))
	delay, err3 := m.Float64ObservableGauge("leveret.projection.delay", metric.WithUnit("s"),
		metric.WithDescription("How long ago the event was sent that a projection has applied last; 0 once it has caught up."))
	stopped, err4 := m.Int64ObservableGauge("leveret.projection.stopped",
		metric.WithDescription("1 while a projection stands still because of an error."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, f := range p.feeds {
			s, which := f.stands(), f.attributes()
			o.ObserveInt64(position, s.Offset, which)
			o.ObserveInt64(lag, s.behind(), which)
			o.ObserveFloat64(delay, s.delay(time.Now()).Seconds(), which)
			o.ObserveInt64(stopped, int64(cmp.Compare(s.failures, 0)), which)
		}
		return nil
	}, position, lag, delay, stopped)
}

func (f *feed) attributes() metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("leveret.projection", f.p.config.Name), attribute.String("leveret.stream", f.stream))
}

func (s standing) behind() int64 { return max(s.end-s.Offset, 0) }

func (s standing) delay(now time.Time) time.Duration {
	if s.behind() == 0 || s.sentAt.IsZero() {
		return 0
	}
	return max(now.Sub(s.sentAt), 0)
}
