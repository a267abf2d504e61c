package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// A lease is one relay's right to send what is in some of the slots, for as long as its beat goes on. Whether another relay
// is dead is judged by the database's clock. A relay stops sending well before others can judge so, and goes on where its next
// beat finds that nobody has. Its id is its fence: it is new in each lease, and what it writes is for slots that it still owns.
type lease struct {
	db      *sql.DB
	dialect *dialect
	id      string
	length  time.Duration
	began   time.Time
	beaten  atomic.Int64                 // when the last beat began that has succeeded, since began
	owned   atomic.Pointer[map[int]bool] // slots, without those that are being given up
	free    map[int]bool                 // slots that nobody had taken when this relay looked last
	missed  time.Time                    // since when the broker is not reached; zero while it is
}

// errLost says that another relay has the slots now.
var errLost = errors.New("another relay has taken over")

func newLease(o *Outbox) *lease {
	l := &lease{
		db: o.config.DB, dialect: o.dialect, id: uuid.Must(uuid.NewV7()).String(), length: o.config.Lease, began: time.Now(),
	}
	l.owned.Store(&map[int]bool{})
	return l
}

// soon bounds one of the statements that keep a lease.
func (l *lease) soon(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, l.length/3)
}

// tick is how often a lease beats.
func (l *lease) tick() time.Duration { return l.length / 10 }

// beatsNow is how old the last beat of a relay may be that still goes on, as far as the others know.
func beatsNow(lease time.Duration) time.Duration { return 3 * lease / 10 }

// join makes the lease known, without a slot.
func (l *lease) join(ctx context.Context) error {
	ctx, cancel := l.soon(ctx)
	defer cancel()
	l.began = time.Now()
	_, err := l.db.ExecContext(ctx, l.dialect.sql("INSERT INTO leveret_outbox_relays (relay, beat_at, able, trouble) VALUES ($1, {now}, 1, '')"), l.id)
	return err
}

// holds reports whether the lease certainly lasts. It takes no lock, and is asked before each message.
func (l *lease) holds() bool {
	return time.Since(l.began)-time.Duration(l.beaten.Load()) < l.length*2/3
}

// beat says that this relay lives, and what keeps it from sending. The error is errLost where others have decided otherwise.
func (l *lease) beat(ctx context.Context, troubles []trouble) error {
	ctx, cancel := l.soon(ctx)
	defer cancel()
	text, err := writeTroubles(troubles)
	if err != nil {
		return err
	}
	at := time.Since(l.began)
	result, err := l.db.ExecContext(ctx, l.dialect.sql("UPDATE leveret_outbox_relays SET beat_at = {now}, able = $1, trouble = $2 WHERE relay = $3"), l.able(), text, l.id)
	if err := changed(result, err); errors.Is(err, errNothing) {
		return errLost
	} else if err != nil {
		return err
	}
	l.beaten.Store(int64(at))
	return nil
}

// miss notes that the broker is not reached, and reach that it is. A relay that has missed it for twice the length of a lease is
// not able to send, and leaves its slots to those that are.
func (l *lease) miss() {
	if l.missed.IsZero() {
		l.missed = time.Now()
	}
}

func (l *lease) reach() { l.missed = time.Time{} }

// able returns 1 if the relay is able to send, else 0.
func (l *lease) able() int {
	if l.missed.IsZero() || time.Since(l.missed) < 2*l.length {
		return 1
	}
	return 0
}

// share removes relays that are dead, and takes slots that nobody has: this relay's share of them, and more where nobody took
// them the last time. It returns slots to give up, since others should have them.
func (l *lease) share(ctx context.Context) (surplus []int, err error) {
	ctx, cancel := l.soon(ctx)
	defer cancel()
	length := l.length.Microseconds()
	_, err = l.db.ExecContext(ctx, l.dialect.sql(`DELETE FROM leveret_outbox_relays
		WHERE beat_at < {now} - $1 OR beat_at > {now} + $2`), length, length) // the clock may have been set back
	if err != nil {
		return nil, err
	}
	var relays, able int // that beat now: the others will not take their share
	err = l.db.QueryRowContext(ctx, l.dialect.sql(`SELECT count(*), coalesce(sum(able), 0) FROM leveret_outbox_relays
		WHERE beat_at >= {now} - $1`), beatsNow(l.length).Microseconds()).Scan(&relays, &able)
	if err != nil {
		return nil, err
	}
	owned, free, err := l.slots(ctx)
	if err != nil {
		return nil, err
	}
	want := (slots + relays - 1) / max(relays, 1)
	switch {
	case able == 0: // all share the work until one reaches the broker
	case l.able() == 0:
		want, free = 0, nil
	default:
		want = (slots + able - 1) / able
	}
	var take []int
	left := map[int]bool{}
	for _, slot := range free {
		if len(owned)+len(take) < want || l.free[slot] {
			take = append(take, slot)
		} else {
			left[slot] = true
		}
	}
	l.free = left
	if len(take) > 0 {
		_, err := l.db.ExecContext(ctx, l.dialect.sql(`UPDATE leveret_outbox_slots SET owner = $2 WHERE slot {among}
			AND owner NOT IN (SELECT relay FROM leveret_outbox_relays)`), list(take), l.id)
		if err != nil {
			return nil, err
		}
		if owned, _, err = l.slots(ctx); err != nil {
			return nil, err
		}
	}
	if len(free) == 0 { // else there is room for everybody
		surplus = owned[min(len(owned), want):]
		owned = owned[:min(len(owned), want)]
	}
	now := make(map[int]bool, len(owned))
	for _, slot := range owned {
		now[slot] = true
	}
	l.owned.Store(&now)
	return surplus, nil
}

// slots returns the slots that are this relay's, and those that are nobody's. A relay may have taken one after it was removed.
func (l *lease) slots(ctx context.Context) (owned, free []int, err error) {
	rows, err := l.db.QueryContext(ctx, `SELECT slot, owner FROM leveret_outbox_slots
		WHERE owner = $1 OR owner NOT IN (SELECT relay FROM leveret_outbox_relays) ORDER BY slot`, l.id)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var slot int
		var owner string
		if err := rows.Scan(&slot, &owner); err != nil {
			return nil, nil, err
		}
		if owner == l.id {
			owned = append(owned, slot)
		} else {
			free = append(free, slot)
		}
	}
	return owned, free, rows.Err()
}

// giveUp lets others have slots of which nothing is being sent.
func (l *lease) giveUp(ctx context.Context, which []int) error {
	ctx, cancel := l.soon(ctx)
	defer cancel()
	_, err := l.db.ExecContext(ctx, l.dialect.sql("UPDATE leveret_outbox_slots SET owner = '' WHERE slot {among} AND owner = $2"), list(which), l.id)
	return err
}

// leave ends the lease, when nothing is being sent any more.
func (l *lease) leave(ctx context.Context) error {
	ctx, cancel := l.soon(ctx)
	defer cancel()
	if _, err := l.db.ExecContext(ctx, "DELETE FROM leveret_outbox_relays WHERE relay = $1", l.id); err != nil {
		return fmt.Errorf("give up the lease: %w", err)
	}
	return nil
}
