package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A State is what a message in an outbox waits for.
type State string

// The states.
const (
	Ready   State = "ready"     // to be sent now, or once what is before it has been
	Later   State = "later"     // for its time
	Blocked State = "blocked"   // for one of its key that was set aside
	Aside   State = "set aside" // for somebody to decide: it cannot be sent as it is
)

// An Entry is a message in an outbox.
type Entry struct {
	ID       string
	Contract string
	// Key is what it is ordered by; empty where it is not.
	Key   string
	State State
	// Since is from when on it could be sent: when it was stored, by the clock of the process that did so, or the time for
	// which it was stored.
	Since time.Time
	// DueAt is when it is sent; zero unless it is for later.
	DueAt time.Time
	// Tries is how often it was set aside, and Trouble why.
	Tries   int
	Trouble string
	// Body is the payload as it travels, and Headers are those that it will have.
	Body    []byte
	Headers map[string]any
}

const entryColumns = "message_id, contract, order_key, since, due_at, tries, trouble, body, properties"

func scanEntry(rows *sql.Rows) (*Entry, error) {
	var e Entry
	var since, due int64
	var text string
	if err := rows.Scan(&e.ID, &e.Contract, &e.Key, &since, &due, &e.Tries, &e.Trouble, &e.Body, &text); err != nil {
		return nil, err
	}
	e.Since = time.UnixMicro(since).UTC()
	switch due {
	case aside:
		e.State = Aside
	case parked:
		e.State = Blocked
	case 0:
		e.State = Ready
	default:
		e.State, e.DueAt = Later, time.UnixMicro(due).UTC()
	}
	var p properties
	if json.Unmarshal([]byte(text), &p) == nil { // else the row is set aside when it is sent
		e.Headers, _ = decodeHeaders(p.Headers)
	}
	return &e, nil
}

var conditions = map[State]string{
	Ready:   "due_at = 0",
	Later:   fmt.Sprintf("due_at > 0 AND due_at < %d", int64(parked)),
	Blocked: fmt.Sprintf("due_at = %d", int64(parked)),
	Aside:   fmt.Sprintf("due_at = %d AND tries > 0", int64(aside)),
}

// List returns messages of a state, up to a number of them: the oldest first, and of those that wait for a time the ones
// that are due first.
func (o *Outbox) List(ctx context.Context, state State, most int) ([]*Entry, error) {
	order := "number"
	if state == Later {
		order = "due_at, number"
	}
	return o.entries(ctx, conditions[state]+" ORDER BY "+order+" LIMIT $1", most)
}

// Get returns the message with an id; an error with the code NotFound where there is none. Of several it is the oldest.
func (o *Outbox) Get(ctx context.Context, id string) (*Entry, error) {
	found, err := o.entries(ctx, "message_id = $1 ORDER BY number LIMIT 1", id)
	if err == nil && len(found) == 0 {
		return nil, leveret.Errorf(leveret.NotFound, "the outbox has no message %s", id)
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

func (o *Outbox) entries(ctx context.Context, where string, argument any) ([]*Entry, error) {
	rows, err := o.config.DB.QueryContext(ctx, "SELECT "+entryColumns+" FROM leveret_outbox WHERE "+where, argument)
	if err != nil {
		return nil, leveret.Errorf(leveret.Unavailable, "read the outbox: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var found []*Entry
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, fmt.Errorf("read the outbox: %w", err)
		}
		found = append(found, e)
	}
	if err := rows.Err(); err != nil {
		return nil, leveret.Errorf(leveret.Unavailable, "read the outbox: %w", err)
	}
	return found, nil
}

// A Status is what waits in an outbox, and since when.
type Status struct {
	// Counts are how many messages are in each state; of those that are ready, no more than 10,000 are counted.
	Counts map[State]int
	// BlockedKeys is how many keys wait for a message that was set aside.
	BlockedKeys int
	// Trouble says why relays cannot send messages of some contracts, or any, now; it is empty where they can.
	Trouble []string
	// Lag is how long the oldest message that is ready has been so; 0 where none is. It compares the clock of this process
	// with that of the one that stored it.
	Lag time.Duration
}

// maxCounted is how many messages that are ready are counted: all of a table take long.
const maxCounted = 10_000

// Status looks what waits in the outbox.
func (o *Outbox) Status(ctx context.Context) (Status, error) {
	var ready, later, blocked, aside, keys int
	var since sql.NullInt64
	err := o.config.DB.QueryRowContext(ctx, fmt.Sprintf(`SELECT
		(SELECT count(*) FROM (SELECT 1 AS one FROM leveret_outbox WHERE due_at = 0 LIMIT %d) r),
		(SELECT count(*) FROM leveret_outbox WHERE %s),
		(SELECT count(*) FROM leveret_outbox WHERE %s),
		(SELECT count(*) FROM leveret_outbox WHERE %s),
		(SELECT count(DISTINCT order_key) FROM leveret_outbox WHERE tries > 0 AND order_key <> ''),
		(SELECT since FROM leveret_outbox WHERE due_at = 0 ORDER BY number LIMIT 1)`,
		maxCounted, conditions[Later], conditions[Blocked], conditions[Aside])).Scan(&ready, &later, &blocked, &aside, &keys, &since)
	if err != nil {
		return Status{}, leveret.Errorf(leveret.Unavailable, "look at the outbox: %w", err)
	}
	s := Status{Counts: map[State]int{Ready: ready, Later: later, Blocked: blocked, Aside: aside}, BlockedKeys: keys}
	if since.Valid {
		s.Lag = max(time.Since(time.UnixMicro(since.Int64)), 0)
	}
	s.Trouble, err = o.trouble(ctx)
	return s, err
}

// trouble returns what relays have written down.
func (o *Outbox) trouble(ctx context.Context) ([]string, error) {
	rows, err := o.config.DB.QueryContext(ctx, "SELECT DISTINCT trouble FROM leveret_outbox_relays WHERE trouble <> '' ORDER BY trouble")
	if err != nil {
		return nil, leveret.Errorf(leveret.Unavailable, "look at the outbox: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var trouble string
		if err := rows.Scan(&trouble); err != nil {
			return nil, fmt.Errorf("look at the outbox: %w", err)
		}
		all = append(all, trouble)
	}
	return all, rows.Err()
}

// Last returns what the relay of this process has seen some seconds ago; false where it has seen nothing yet.
func (o *Outbox) Last() (Status, bool) {
	s := o.last.Load()
	if s == nil {
		return Status{}, false
	}
	return *s, true
}

// Ready returns what keeps messages from being sent, as the relay of this process has seen it some seconds ago; nil where
// nothing does.
func (o *Outbox) Ready() error {
	s, _ := o.Last()
	var errs []error
	if n := s.Counts[Aside]; n > 0 {
		errs = append(errs, fmt.Errorf("set aside: %d; keys that wait for one of them: %d", n, s.BlockedKeys))
	}
	for _, t := range s.Trouble {
		errs = append(errs, errors.New(t))
	}
	return errors.Join(errs...)
}

// Retry has a message sent that was set aside. What is behind it in its key waits until it is sent.
func (o *Outbox) Retry(ctx context.Context, id string) error {
	err := decide(ctx, o.config.DB, id, "was not set aside", "UPDATE leveret_outbox SET due_at = 0 WHERE message_id = $1 AND due_at > 0 AND "+conditions[Aside])
	o.wake()
	return err
}

// Skip removes a message that was set aside, so that those behind it go on. It is not sent.
func (o *Outbox) Skip(ctx context.Context, id string) error {
	err := inTx(ctx, o.config.DB, func(tx *sql.Tx) error {
		var key string
		err := tx.QueryRowContext(ctx, "SELECT order_key FROM leveret_outbox WHERE message_id = $1 AND due_at > 0 AND "+conditions[Aside], id).Scan(&key)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		err = decide(ctx, tx, id, "was not set aside", "DELETE FROM leveret_outbox WHERE message_id = $1 AND due_at > 0 AND "+conditions[Aside])
		if err != nil {
			return err
		}
		return free(ctx, tx, key)
	})
	o.wake()
	return err
}

// Cancel is like the function [Cancel], in a transaction of its own.
func (o *Outbox) Cancel(ctx context.Context, id string) error {
	return inTx(ctx, o.config.DB, func(tx *sql.Tx) error { return Cancel(ctx, tx, id) })
}

// Cancel removes a message that is to be sent later, in tx. If tx commits, it is not sent. The error has the code NotFound
// where there is no such message, or it was sent already, and FailedPrecondition where its time has come.
func Cancel(ctx context.Context, tx *sql.Tx, id string) error {
	return decide(ctx, tx, id, "is not for later", "DELETE FROM leveret_outbox WHERE message_id = $1 AND "+conditions[Later])
}

// Move changes when a message is sent that is to be sent later, in tx. Its errors are those of [Cancel].
func Move(ctx context.Context, tx *sql.Tx, id string, to time.Time) error {
	return decide(ctx, tx, id, "is not for later", "UPDATE leveret_outbox SET due_at = $1, since = $2 WHERE message_id = $3 AND "+conditions[Later], dueAt(to), sinceOf(to))
}

type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// decide changes what becomes of a message, if it is still in the state for which that can be decided.
func decide(ctx context.Context, e executor, id, otherwise, statement string, arguments ...any) error {
	result, err := e.ExecContext(ctx, statement, append(arguments, id)...)
	err = changed(result, err)
	if !errors.Is(err, errNothing) {
		return err
	}
	var n int
	if err := e.QueryRowContext(ctx, "SELECT count(*) FROM leveret_outbox WHERE message_id = $1", id).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		return leveret.Errorf(leveret.NotFound, "the outbox has no message %s", id)
	}
	return leveret.Errorf(leveret.FailedPrecondition, "the message %s %s; it may be on its way", id, otherwise)
}
