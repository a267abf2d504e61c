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
	Ready   State = "ready"   // to be sent now, or once what is before it has been
	Later   State = "later"   // for its time
	Blocked State = "blocked" // for one of its key that was set aside
	Aside   State = "aside"   // it was set aside, since it cannot be sent as it is: for somebody to decide
)

// states are all of them; those that somebody has to see to come first.
var states = []State{Aside, Blocked, Ready, Later}

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
	// Body is the payload as it travels, and Headers are those that the sender set; others are added when it is sent.
	// [Outbox.List] leaves them out.
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
// others any; then the oldest first. Without a state it returns those of all states: [Aside], [Blocked], [Ready], then [Later].
// Of ready messages it sees those among 10,000 that are ready or blocked. A state that there is not, or a number that is not
// positive, is InvalidArgument.
func (o *Outbox) List(ctx context.Context, state State, most int) ([]*Entry, error) {
	which := []State{state}
	if state == "" {
		which = states
	}
	switch {
	case !slices.Contains(states, which[0]):
		return nil, leveret.Errorf(leveret.InvalidArgument, "the state is %q; it must be aside, blocked, ready or later", state)
	case most < 1:
		return nil, leveret.Errorf(leveret.InvalidArgument, "the number of messages is %d; it must be positive", most)
	}
	var all []*Entry
	for _, one := range which {
		found, err := o.entries(ctx, entryColumns+" "+queries[one]+" LIMIT $1", most-len(all), scanEntry)
		if err != nil {
			return nil, err
		}
		if one != Later {
			slices.SortStableFunc(found, func(a, b *Entry) int { return a.Since.Compare(b.Since) })
		}
		all = append(all, found...)
	}
	return all, nil
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
	// Trouble says why relays cannot send messages of some contracts, or any, now; it is empty where they can. Those of the relay
	// of this process are as they are now; those of others as of their last beat, a tenth of [Config].Lease ago.
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
	s, err := o.look(ctx)
	if err != nil {
		return Status{}, leveret.Errorf(leveret.Unavailable, "look at the outbox: %w", err)
	}
	return o.now(s), nil
}

// seen is what was seen in the database.
type seen struct {
	Status
	others []trouble // of relays of other processes
}

// now adds the troubles that the relay of this process has now.
func (o *Outbox) now(s *seen) Status {
	_, own := o.own()
	now := s.Status
	now.Trouble = merged(s.others, own)
	return now
}

func (o *Outbox) look(ctx context.Context) (*seen, error) {
	s := &seen{Status: Status{At: time.Now(), Counts: map[State]int{}}}
	count := func(from string, most int) (n int, err error) {
		err = o.config.DB.QueryRowContext(ctx, o.dialect.sql("SELECT count(*) FROM (SELECT 1 AS one "+from+" LIMIT $1) c"), most).Scan(&n)
		return n, err
	}
	for _, state := range []State{Later, Blocked, Aside} {
		n, err := count(queries[state], maxCounted)
		if err != nil {
			return nil, err
		}
		s.Counts[state] = n
	}
	due, err := count("FROM leveret_outbox WHERE due_at = 0", s.Counts[Blocked]+maxCounted)
	if err != nil {
		return nil, err
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
		s.others, err = o.others(ctx)
	}
	return s, err
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

// Last returns what the relay of this process has seen some seconds ago, with the troubles that it has now; false where it has
// seen nothing yet, or does not run. Where it could not look for some time, that is a trouble. [Outbox.Status] looks now.
func (o *Outbox) Last() (Status, bool) {
	last := o.last.Load()
	if last == nil {
		return Status{}, false
	}
	s := o.now(last)
	if age := time.Since(s.At); age > staleAfter {
		s.Trouble = append(s.Trouble, fmt.Sprintf("nobody could look at the outbox for %s", age.Round(time.Second)))
		s.Lag += age
	}
	return s, true
}

// staleAfter is how old a look may be.
const staleAfter = 30 * time.Second

// Ready returns what keeps messages from being sent, as the relay of this process has seen it some seconds ago; nil where
// nothing does.
func (o *Outbox) Ready() error {
	s, known := o.Last()
	if !known {
		_, own := o.own()
		s.Trouble = merged(own)
	}
	var errs []error
	if n := s.Counts[Aside]; n > 0 {
		text := fmt.Sprintf("set aside: %d", n)
		if s.BlockedKeys > 0 {
			text += fmt.Sprintf("; keys that wait for one of them: %d", s.BlockedKeys)
		}
		errs = append(errs, errors.New(text))
	}
	for _, t := range s.Trouble {
		errs = append(errs, errors.New(t))
	}
	return errors.Join(errs...)
}

// Retry has a message sent that was set aside. What is behind it in its key waits until it is sent. The error has the code
// NotFound where there is no such message, and FailedPrecondition where it was not set aside. Within a transaction of a SQLite
// database, which has one connection, it would wait for that transaction: Retry, Skip and Cancel are for outside.
func (o *Outbox) Retry(ctx context.Context, id string) error {
	done, err := affects(ctx, o.config.DB, o.dialect.sql("UPDATE leveret_outbox SET due_at = 0 WHERE message_id = $1 AND due_at = {aside} AND tries > 0"), id)
	if err == nil && !done {
		err = o.refusal(ctx, id)
	}
	o.wake()
	return err
}

// Skip removes a message that was set aside, so that those behind it go on; or one that waits although nothing sends it: its
// contract is one that its relay's service does not declare, as [Status].Trouble says then, or no relay runs. A relay that begins at
// this moment may send it all the same. The errors are those of [Outbox.Retry].
func (o *Outbox) Skip(ctx context.Context, id string) error {
	done, err := affects(ctx, o.config.DB, o.dialect.sql("DELETE FROM leveret_outbox WHERE message_id = $1 AND due_at = {aside} AND tries > 0"), id)
	if err == nil && !done {
		done, err = o.skipUnsent(ctx, id)
	}
	if err == nil && !done {
		err = o.refusal(ctx, id)
	}
	o.wake()
	return err
}

// skipUnsent removes a message that no relay sends now.
func (o *Outbox) skipUnsent(ctx context.Context, id string) (done bool, err error) {
	var number int64
	var contract string
	var relay, text sql.NullString
	var relays int
	err = o.config.DB.QueryRowContext(ctx, o.dialect.sql(`SELECT o.number, o.contract, r.relay, r.trouble,
			(SELECT count(*) FROM leveret_outbox_relays WHERE beat_at >= {now} - $2)
		FROM leveret_outbox o JOIN leveret_outbox_slots s ON s.slot = o.slot LEFT JOIN leveret_outbox_relays r ON r.relay = s.owner AND r.beat_at >= {now} - $2
		WHERE o.message_id = $1 AND o.due_at = 0 ORDER BY o.number LIMIT 1`), id, o.config.Lease.Microseconds()).Scan(&number, &contract, &relay, &text, &relays)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, leveret.Errorf(leveret.Unavailable, "read the outbox: %w", err)
	}
	own, troubles := o.own()
	if relay.String != own {
		troubles = readTroubles(text.String)
	}
	declares := !slices.ContainsFunc(troubles, func(t trouble) bool { return t.Undeclared == contract })
	if relays > 0 && (declares || !relay.Valid) {
		return false, nil
	}
	return affects(ctx, o.config.DB, "DELETE FROM leveret_outbox WHERE number = $1 AND message_id = $2 AND due_at = 0", number, id)
}

// Cancel is like the function [Cancel], in a transaction of its own. Within another transaction of a SQLite database, which has
// one connection, it would wait for that: use the function there.
func (o *Outbox) Cancel(ctx context.Context, id string) error {
	return inTx(ctx, o.config.DB, func(tx *sql.Tx) error { return Cancel(ctx, tx, id) })
}

// Cancel removes a message that is to be sent later, in tx. If tx commits, it is not sent. The error has the code NotFound
// where no message with that id is for later: it was sent, its time has come, or there never was one. Give a message that may be
// cancelled an id that is known then, with leveret.MessageID. Ids of messages that are for later must differ: of two that have
// the same one, both are stored, and Cancel and Move change both.
func Cancel(ctx context.Context, tx *sql.Tx, id string) error {
	return changeLater(ctx, tx, id, "DELETE FROM leveret_outbox WHERE "+isLater+" AND message_id = $1")
}

// Move changes when a message is sent that is to be sent later, in tx. A time that is past means at once. Its errors are those of
// [Cancel]; and InvalidArgument for a time before 1970, such as the zero time.
func Move(ctx context.Context, tx *sql.Tx, id string, to time.Time) error {
	if err := checkTime(to); err != nil {
		return err
	}
	return changeLater(ctx, tx, id, "UPDATE leveret_outbox SET due_at = $1, since = $2 WHERE "+isLater+" AND message_id = $3", dueAt(to), sinceOf(to))
}

var isLater = fmt.Sprintf("due_at > 0 AND due_at < %d", int64(aside))

// changeLater changes a message that is for later. Its id is the last argument of the statement.
func changeLater(ctx context.Context, tx *sql.Tx, id, statement string, arguments ...any) error {
	done, err := affects(ctx, tx, statement, append(arguments, id)...)
	if err == nil && !done {
		return leveret.Errorf(leveret.NotFound, "the outbox has no message %s for later", id)
	}
	return err
}

type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// affects reports whether a statement has changed a row.
func affects(ctx context.Context, e executor, statement string, arguments ...any) (bool, error) {
	result, err := e.ExecContext(ctx, statement, arguments...)
	switch err = changed(result, err); {
	case err == nil:
		return true, nil
	case errors.Is(err, errNothing):
		return false, nil
	default:
		return false, leveret.Errorf(leveret.Unavailable, "change the outbox: %w", err)
	}
}

// refusal says why a message cannot be retried or skipped.
func (o *Outbox) refusal(ctx context.Context, id string) error {
	e, err := o.Get(ctx, id)
	if err != nil {
		return err
	}
	why := ""
	switch e.State {
	case Later:
		why = fmt.Sprintf("is for later (due in %s): outbox cancel removes it", max(time.Until(e.DueAt), 0).Round(time.Second))
	case Blocked:
		why = "waits behind " + o.blocker(ctx, id)
	case Ready:
		why = "is ready, and sent by itself"
	case Aside:
		why = "was set aside just now: try again"
	}
	return leveret.Errorf(leveret.FailedPrecondition, "the message %s %s", id, why)
}

// blocker returns the id of the message for which another one waits.
func (o *Outbox) blocker(ctx context.Context, id string) string {
	first := "one that was set aside" // and is gone now
	_ = o.config.DB.QueryRowContext(ctx, `SELECT t.message_id FROM leveret_outbox o JOIN leveret_outbox t
		ON t.tries > 0 AND t.contract = o.contract AND t.order_key = o.order_key AND t.number < o.number
		WHERE o.message_id = $1 AND o.due_at = 0 ORDER BY t.number LIMIT 1`, id).Scan(&first)
	return first
}
