package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// Body is the payload as it travels, and Headers are those that it will have. [Outbox.List] leaves them out.
	Body    []byte
	Headers map[string]any
}

// blocked is the condition of a row o that waits behind one of its key that was set aside.
const blocked = `o.order_key <> '' AND EXISTS (SELECT 1 FROM leveret_outbox t
	WHERE t.tries > 0 AND t.contract = o.contract AND t.order_key = o.order_key AND t.number < o.number)`

const entryColumns = "message_id, contract, order_key, since, due_at, due_at = 0 AND {blocked}, tries, trouble"

// scanEntry scans entryColumns, and more columns behind them.
func scanEntry(rows *sql.Rows, more ...any) (*Entry, error) {
	var e Entry
	var since, due int64
	var waits bool
	if err := rows.Scan(append([]any{&e.ID, &e.Contract, &e.Key, &since, &due, &waits, &e.Tries, &e.Trouble}, more...)...); err != nil {
		return nil, err
	}
	e.Since = time.UnixMicro(since).UTC()
	switch {
	case due == aside:
		e.State = Aside
	case waits:
		e.State = Blocked
	case due == 0:
		e.State = Ready
	default:
		e.State, e.DueAt = Later, time.UnixMicro(due).UTC()
	}
	return &e, nil
}

// These are what is asked for, and in which order. The indexes serve all of them. Behind a message that was set aside there may be
// millions that are blocked, so only some are looked at for those that are ready.
var queries = map[State]string{
	Ready: `FROM leveret_outbox o WHERE due_at = 0 AND number IN (SELECT number FROM leveret_outbox WHERE due_at = 0 LIMIT 10000)
		AND NOT ({blocked})`,
	Later: "FROM leveret_outbox o WHERE due_at > 0 AND due_at < {aside} ORDER BY due_at",
	Blocked: `FROM leveret_outbox o WHERE due_at = 0 AND number IN (SELECT b.number FROM leveret_outbox a JOIN leveret_outbox b
		ON b.due_at = 0 AND b.contract = a.contract AND b.slot = a.slot AND b.order_key = a.order_key AND b.number > a.number
		WHERE a.tries > 0 AND a.order_key <> '' LIMIT 10000)`,
	Aside: "FROM leveret_outbox o WHERE tries > 0 AND due_at = {aside}",
}

// List returns messages of a state, up to a number of them: of those that wait for a time the ones that are due first, and of
// others any; then the oldest first. Of ready messages it sees those among 10,000 that are ready or blocked.
func (o *Outbox) List(ctx context.Context, state State, most int) ([]*Entry, error) {
	found, err := o.entries(ctx, entryColumns+" "+queries[state]+" LIMIT $1", most, scanEntry)
	if state != Later {
		slices.SortStableFunc(found, func(a, b *Entry) int { return a.Since.Compare(b.Since) })
	}
	return found, err
}

// Get returns the message with an id; an error with the code NotFound where there is none. Of several it is the oldest.
func (o *Outbox) Get(ctx context.Context, id string) (*Entry, error) {
	for _, where := range []string{"due_at > 0 AND ", "due_at = 0 AND "} { // the first has an index
		found, err := o.entries(ctx, entryColumns+", body, properties FROM leveret_outbox o WHERE "+where+"message_id = $1 ORDER BY number LIMIT 1", id, scanWhole)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return nil, leveret.Errorf(leveret.NotFound, "the outbox has no message %s", id)
}

func scanWhole(rows *sql.Rows, _ ...any) (*Entry, error) {
	var body []byte
	var text string
	e, err := scanEntry(rows, &body, &text)
	if err != nil {
		return nil, err
	}
	e.Body = body
	var p properties
	if json.Unmarshal([]byte(text), &p) == nil { // else the row is set aside when it is sent
		e.Headers, _ = decodeHeaders(p.Headers)
	}
	return e, nil
}

func (o *Outbox) entries(ctx context.Context, what string, argument any, scan func(*sql.Rows, ...any) (*Entry, error)) ([]*Entry, error) {
	rows, err := o.config.DB.QueryContext(ctx, o.dialect.sql("SELECT "+what), argument)
	if err != nil {
		return nil, leveret.Errorf(leveret.Unavailable, "read the outbox: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var found []*Entry
	for rows.Next() {
		e, err := scan(rows)
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
	// At is when it was looked.
	At time.Time
	// Counts are how many messages are in each state, up to 10,000.
	Counts map[State]int
	// BlockedKeys is how many keys wait for a message that was set aside.
	BlockedKeys int
	// Trouble says why relays cannot send messages of some contracts, or any, now; it is empty where they can.
	Trouble []string
	// Lag is how long the oldest message that is ready has been so, among the first ones of each slot and contract; 0 where none
	// is. It compares the clock of this process with that of the one that stored it.
	Lag time.Duration
	// Remembers is [Config].Remember, if there are ids of messages that [Outbox.Once] has handled; else 0.
	Remembers time.Duration
}

// maxCounted is how many messages of a state are counted: all of a table take long.
const maxCounted = 10_000

// Status looks what waits in the outbox.
func (o *Outbox) Status(ctx context.Context) (Status, error) {
	s := Status{At: time.Now(), Counts: map[State]int{}}
	count := func(from string, most int) (n int, err error) {
		err = o.config.DB.QueryRowContext(ctx, o.dialect.sql("SELECT count(*) FROM (SELECT 1 AS one "+from+" LIMIT $1) c"), most).Scan(&n)
		return n, err
	}
	for _, state := range []State{Later, Blocked, Aside} {
		n, err := count(queries[state], maxCounted)
		if err != nil {
			return s, leveret.Errorf(leveret.Unavailable, "look at the outbox: %w", err)
		}
		s.Counts[state] = n
	}
	due, err := count("FROM leveret_outbox WHERE due_at = 0", s.Counts[Blocked]+maxCounted)
	if err != nil {
		return s, leveret.Errorf(leveret.Unavailable, "look at the outbox: %w", err)
	}
	s.Counts[Ready] = max(due-s.Counts[Blocked], 0)
	err = o.config.DB.QueryRowContext(ctx, `SELECT count(*) FROM
		(SELECT DISTINCT contract, order_key FROM leveret_outbox WHERE tries > 0 AND order_key <> '' LIMIT $1) k`, maxCounted).Scan(&s.BlockedKeys)
	if err == nil {
		s.Lag, err = o.lag(ctx)
	}
	if err == nil {
		s.Remembers, err = o.remembers(ctx)
	}
	if err == nil {
		s.Trouble, err = o.trouble(ctx)
	}
	if err != nil {
		return s, leveret.Errorf(leveret.Unavailable, "look at the outbox: %w", err)
	}
	return s, nil
}

// lag returns how long the oldest message is ready, of some of each slot and contract.
func (o *Outbox) lag(ctx context.Context) (time.Duration, error) {
	contracts, err := readyContracts(ctx, o.config.DB)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	oldest := now
	for _, contract := range contracts {
		var since sql.NullInt64
		err := o.config.DB.QueryRowContext(ctx, o.dialect.sql(`SELECT min(oldest) FROM (SELECT (SELECT min(since) FROM
			(SELECT since, contract, order_key, number FROM leveret_outbox WHERE due_at = 0 AND contract = $1 AND slot = s.slot
				ORDER BY order_key, number LIMIT 30) o WHERE NOT ({blocked})) AS oldest FROM leveret_outbox_slots s) l`), contract).Scan(&since)
		if err != nil {
			return 0, err
		}
		if at := time.UnixMicro(since.Int64); since.Valid && at.Before(oldest) {
			oldest = at
		}
	}
	return now.Sub(oldest), nil
}

func (o *Outbox) remembers(ctx context.Context) (time.Duration, error) {
	var some int
	err := o.config.DB.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 AS one FROM leveret_inbox LIMIT 1) i").Scan(&some)
	return time.Duration(some) * o.config.Remember, err
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

// Last returns what the relay of this process has seen some seconds ago; false where it has seen nothing yet, or does not run.
// Where it could not look for some time, that is a trouble.
func (o *Outbox) Last() (Status, bool) {
	last := o.last.Load()
	if last == nil {
		return Status{}, false
	}
	s := *last
	if age := time.Since(s.At); age > staleAfter {
		s.Trouble = append(slices.Clone(s.Trouble), fmt.Sprintf("nobody could look at the outbox for %s", age.Round(time.Second)))
		s.Lag += age
	}
	return s, true
}

// staleAfter is how old a look may be.
const staleAfter = 30 * time.Second

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
	err := decide(ctx, o.config.DB, id, "was not set aside", o.dialect.sql("UPDATE leveret_outbox SET due_at = 0 WHERE message_id = $1 AND due_at = {aside} AND tries > 0"))
	o.wake()
	return err
}

// Skip removes a message that was set aside, so that those behind it go on. It is not sent.
func (o *Outbox) Skip(ctx context.Context, id string) error {
	err := decide(ctx, o.config.DB, id, "was not set aside", o.dialect.sql("DELETE FROM leveret_outbox WHERE message_id = $1 AND due_at = {aside} AND tries > 0"))
	o.wake()
	return err
}

// Cancel is like the function [Cancel], in a transaction of its own.
func (o *Outbox) Cancel(ctx context.Context, id string) error {
	return inTx(ctx, o.config.DB, func(tx *sql.Tx) error { return Cancel(ctx, tx, id) })
}

// Cancel removes a message that is to be sent later, in tx. If tx commits, it is not sent. The error has the code NotFound
// where no message with that id is for later: it was sent, its time has come, or there never was one. Give a message that may be
// cancelled an id that is known then, with leveret.MessageID; ids of messages that are for later must differ.
func Cancel(ctx context.Context, tx *sql.Tx, id string) error {
	return decide(ctx, tx, id, "", "DELETE FROM leveret_outbox WHERE message_id = $1 AND "+isLater)
}

// Move changes when a message is sent that is to be sent later, in tx. Its errors are those of [Cancel].
func Move(ctx context.Context, tx *sql.Tx, id string, to time.Time) error {
	return decide(ctx, tx, id, "", "UPDATE leveret_outbox SET due_at = $1, since = $2 WHERE message_id = $3 AND "+isLater, dueAt(to), sinceOf(to))
}

var isLater = fmt.Sprintf("due_at > 0 AND due_at < %d", int64(aside))

type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// decide changes what becomes of a message, if it is still in the state for which that can be decided.
func decide(ctx context.Context, e executor, id, otherwise, statement string, arguments ...any) error {
	result, err := e.ExecContext(ctx, statement, append(arguments, id)...)
	err = changed(result, err)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, errNothing):
		return leveret.Errorf(leveret.Unavailable, "change the outbox: %w", err)
	case otherwise == "":
		return leveret.Errorf(leveret.NotFound, "the outbox has no message %s for later", id)
	}
	var n int
	if err := e.QueryRowContext(ctx, "SELECT count(*) FROM leveret_outbox WHERE message_id = $1", id).Scan(&n); err != nil {
		return leveret.Errorf(leveret.Unavailable, "read the outbox: %w", err)
	}
	if n == 0 {
		return leveret.Errorf(leveret.NotFound, "the outbox has no message %s", id)
	}
	return leveret.Errorf(leveret.FailedPrecondition, "the message %s %s; it may be on its way", id, otherwise)
}
