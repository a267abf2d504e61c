// Package outbox sends messages that are stored in the transaction of their cause: they are sent if it commits, and not if it
// is rolled back, whatever is killed when.
package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Config says where the messages are stored. The zero value of a field is its default.
type Config struct {
	// DB is the database: SQLite or PostgreSQL. Required. Of SQLite, it is the pool whose transactions write, with one
	// connection, which waits for other processes and has a write-ahead log. [New] warns where it is otherwise. With the driver
	// modernc.org/sqlite:
	//
	//	db, err := sql.Open("sqlite", "file:orders.db?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	//	db.SetMaxOpenConns(1)
	DB *sql.DB
	// InTx runs f in a transaction of DB, commits it if f returns nil, and rolls it back otherwise. It may run f more than
	// once, each time in a new transaction. Default: one transaction with the database's default isolation.
	InTx func(ctx context.Context, f func(tx *sql.Tx) error) error
	// Lease is how long the messages of a relay that has died wait for another one. Default 5 s.
	Lease time.Duration
	// Poll is how often a relay looks for messages that another process has stored, while there are none: for two seconds
	// after it has found some, it looks every 5 ms. Default 100 ms.
	Poll time.Duration
	// Concurrency is how many messages are sent at once. Default 256.
	Concurrency int
	// Remember is how long [Outbox.Once] knows the ids of messages that were handled. It must be longer than a message may
	// wait in a queue, in a retry tier, or as a dead letter, before it is delivered again. Default 30 days.
	Remember time.Duration
	// Logger logs what cannot be sent. Default slog.Default().
	Logger *slog.Logger
	// MeterProvider gets the metrics leveret.outbox.*. Default none.
	MeterProvider metric.MeterProvider
}

// An Outbox is the tables of a database. It is safe for concurrent use.
type Outbox struct {
	config   Config
	dialect  *dialect
	woken    chan struct{}
	relaying atomic.Bool
	last     atomic.Pointer[seen]  // what the relay has seen
	voice    atomic.Pointer[voice] // the relay of this process
	claims   atomic.Int64          // messages that Once has handled
}

// New returns the outbox of a database, and creates its tables where they are missing. It logs a warning for each thing in how
// a SQLite database was opened that makes transactions fail or wait.
func New(ctx context.Context, config Config) (*Outbox, error) {
	if config.DB == nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "Config.DB is required")
	}
	config.Lease = cmp.Or(max(config.Lease, 0), 5*time.Second)
	config.Poll = cmp.Or(max(config.Poll, 0), 100*time.Millisecond)
	config.Concurrency = cmp.Or(max(config.Concurrency, 0), 256)
	config.Remember = cmp.Or(max(config.Remember, 0), 30*24*time.Hour)
	if config.MeterProvider == nil {
		config.MeterProvider = noop.NewMeterProvider()
	}
	config.Logger = cmp.Or(config.Logger, slog.Default())
	d, err := create(ctx, config.DB)
	if err != nil {
		return nil, leveret.Errorf(leveret.Unavailable, "%w", err)
	}
	if err := d.check(ctx, config.DB, config.Logger); err != nil {
		return nil, leveret.Errorf(leveret.Unavailable, "%w", err)
	}
	return &Outbox{config: config, dialect: d, woken: make(chan struct{}, 1)}, nil
}

// Remembers returns how long the ids of handled messages are kept: [Config].Remember, or its default.
func (o *Outbox) Remembers() time.Duration { return o.config.Remember }

// InTx runs f in a transaction, as [Config].InTx does, and has what it has stored sent at once. Messages of other
// transactions are found within [Config].Poll.
func (o *Outbox) InTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if err := o.inTx(ctx, f); err != nil {
		return err
	}
	o.wake()
	return nil
}

func (o *Outbox) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if o.config.InTx != nil {
		return o.config.InTx(ctx, f)
	}
	return inTx(ctx, o.config.DB, f)
}

// wake has the relay look for messages.
func (o *Outbox) wake() {
	notify(o.woken)
}
