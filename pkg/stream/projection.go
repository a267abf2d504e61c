package stream

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A ProjectionConfig says what a projection is called, where it begins, and where its tables are.
type ProjectionConfig struct {
	// Name distinguishes the projection from others in the same database: lower-case letters, digits and hyphens, 64 at most.
	// Required. A new name is a new projection, which begins at From.
	Name string
	// From is where each stream is begun, by a new projection and after [Projection.Rebuild]. Required: the zero Place is an
	// error.
	From Place
	// InTx runs f in a transaction of the database in which the tables are, commits it if f returns nil, and rolls it back
	// otherwise. It may run f more than once, each time in a new transaction. Its isolation is READ COMMITTED at least.
	// Required.
	InTx func(ctx context.Context, f func(tx *sql.Tx) error) error
	// Empty removes everything that the projection's handlers have written, so that it can be built again. Without it
	// [Projection.Rebuild] fails.
	Empty func(ctx context.Context, tx *sql.Tx) error
	// Logger logs where reading stands still, and where it goes on. Default slog.Default().
	Logger *slog.Logger
	// MeterProvider gets the metrics leveret.projection.*. Default none.
	MeterProvider metric.MeterProvider
}

// An EventOf is an event that a projection's handler gets.
type EventOf[T any] struct {
	Payload T
	// Offset is its place in the stream. Offsets grow, but not by one each.
	Offset int64
	// ID is its message id. It is empty where a foreign sender gave it none.
	ID string
	// SentAt is when it was sent, by the sender's clock. It is zero where a foreign sender did not say.
	SentAt time.Time
	// Headers are all that it was kept with.
	Headers map[string]any
}

// A Projection builds tables from kept events. The package's documentation says what it guarantees. It is safe for
// concurrent use, once the last call of [On] has returned.
type Projection struct {
	conn    *leveret.Conn
	service *leveret.Service
	config  ProjectionConfig
	feeds   []*feed
	wrong   []error
	applied metric.Int64Counter
}

// NewProjection makes a projection of events that the service declares with [leveret.Reads]. It does nothing before Run.
// What is wrong with it is returned by [Projection.Err].
func NewProjection(conn *leveret.Conn, service *leveret.Service, config ProjectionConfig) *Projection {
	config.Logger = cmp.Or(config.Logger, slog.Default()).With("projection", config.Name)
	if config.MeterProvider == nil {
		config.MeterProvider = noop.NewMeterProvider()
	}
	p := &Projection{conn: conn, service: service, config: config}
	p.wrong = append(p.wrong, config.err(), p.measure())
	return p
}

var projectionName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func (c ProjectionConfig) err() error {
	switch {
	case !projectionName.MatchString(c.Name):
		return fmt.Errorf("ProjectionConfig.Name is %q; it must be lower-case letters, digits and hyphens, 64 at most", c.Name)
	case c.From.argument == nil:
		return errors.New("ProjectionConfig.From is the zero value; it must be First, Since or Offset")
	case c.InTx == nil:
		return errors.New("ProjectionConfig.InTx is required")
	}
	return nil
}

// On has f called with each event of a stream, in the order of the stream, inside the transaction that also stores how far
// the projection has come. Call it before Run, once for each event that the projection reads.
//
// f does its work through tx alone. It may be called more than once with the same event, as after a rollback, and must not
// call [Projection.Rebuild]. An error, a panic, and an event that cannot be decoded stop the reading of this stream: f is
// called again with the same event, after pauses of a second and, by and by, of a minute.
func On[T any](p *Projection, e *leveret.Event[T], f func(ctx context.Context, tx *sql.Tx, e EventOf[T]) error) {
	p.add(e, func(ctx context.Context, tx *sql.Tx, d Event) error {
		payload, err := e.Decode(d.Body)
		if err != nil {
			return err
		}
		return f(ctx, tx, EventOf[T]{payload, d.Offset, d.MessageId, d.Sent(), d.Headers})
	})
}

// add adds an event and what is done with it.
func (p *Projection) add(e leveret.Contract, apply func(context.Context, *sql.Tx, Event) error) {
	stream := p.conn.Names().KeptStream(e.Spec().Name)
	switch {
	case !slices.Contains(p.service.Contracts(leveret.RoleReads), e):
		p.wrong = append(p.wrong, p.service.Undeclared(e, leveret.RoleReads))
	case slices.ContainsFunc(p.feeds, func(f *feed) bool { return f.stream == stream }):
		p.wrong = append(p.wrong, fmt.Errorf("On was called twice for %q", e.Spec().Name))
	}
	p.feeds = append(p.feeds, &feed{
		p: p, event: e, stream: stream, apply: apply, row: row{p.config.InTx, p.config.Name, stream},
		log: p.config.Logger.With("stream", stream),
	})
}

// Name returns the projection's name.
func (p *Projection) Name() string { return p.config.Name }

// Events returns the events that the projection reads: those of its calls of [On].
func (p *Projection) Events() []leveret.Contract {
	var all []leveret.Contract
	for _, f := range p.feeds {
		all = append(all, f.event)
	}
	return all
}

// Err returns what is wrong with the projection itself: its configuration, and its calls of [On].
func (p *Projection) Err() error {
	wrong := p.wrong
	if len(p.feeds) == 0 {
		wrong = append(slices.Clone(wrong), errors.New("it reads no event: call On"))
	}
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("the projection %q: %w", p.config.Name, err)
	}
	return nil
}

// Run reads the streams and applies their events until ctx ends, and returns nil then. It waits through lost connections,
// and for a database that is away; whatever else goes wrong stops the stream that it concerns, and is tried again. Run fails
// with [Projection.Err], and with [leveret.ErrClosed] when the connection was closed.
func (p *Projection) Run(ctx context.Context) error {
	if err := p.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	registration, err := p.observe()
	if err != nil {
		return err
	}
	defer func() { _ = registration.Unregister() }()
	var all sync.WaitGroup
	errs := make([]error, len(p.feeds))
	for i, f := range p.feeds {
		all.Go(func() {
			if errs[i] = f.run(ctx); errs[i] != nil {
				cancel(errs[i])
			}
		})
		all.Go(func() { f.survey(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Rebuild empties the projection, so that it is built again from the place where it began first. It blocks while events are
// being applied, and works while other processes run the projection: they notice within a second, and begin anew. Where it
// fails, nothing has changed.
func (p *Projection) Rebuild(ctx context.Context) error {
	if err := p.Err(); err != nil {
		return err
	}
	if p.config.Empty == nil {
		return fmt.Errorf("the projection %q cannot be built again: it does not say how it is emptied", p.config.Name)
	}
	for _, f := range p.feeds {
		if _, err := f.row.read(ctx); err != nil { // so that there is a row to lock
			return err
		}
	}
	return p.config.InTx(ctx, func(tx *sql.Tx) error {
		for _, f := range p.feeds { // first, so that what others have begun is committed or rolled back
			if err := f.row.reset(ctx, tx); err != nil {
				return err
			}
		}
		return p.config.Empty(ctx, tx)
	})
}
