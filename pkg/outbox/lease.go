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

// A lease is one relay's right to send what is in some of the slots, for as long as its beat goes on. No clocks are
// compared: a relay takes another's slots when it has not seen that one's beat change for the length of a lease, by its own
// clock, and ends its own sending well before others can think so. With an id of its own, a lease is its own fence: what it
// writes is for slots that it still owns.
type lease struct {
	db     *sql.DB
	id     string
	length time.Duration
	began  time.Time
	beaten atomic.Int64 // when the last beat began that succeeded, since began: others see a beat later than this
	cancel context.CancelCauseFunc

	others map[string]sighting
	owned  atomic.Pointer[map[int]bool] // slots; those that are being given up are not
}

// sighting is when a relay's beat was seen to change.
type sighting struct {
	beat int64
	at   time.Time
}

var errLost = errors.New("the lease was lost")

func newLease(db *sql.DB, length time.Duration, cancel context.CancelCauseFunc) *lease {
	l := &lease{db: db, id: uuid.Must(uuid.NewV7()).String(), length: length, began: time.Now(), cancel: cancel, others: map[string]sighting{}}
	l.owned.Store(&map[int]bool{})
	return l
}

// join makes the lease known, without a slot.
func (l *lease) join(ctx context.Context) error {
	l.began = time.Now()
	_, err := l.db.ExecContext(ctx, "INSERT INTO leveret_outbox_relays (relay, beat) VALUES ($1, 1)", l.id)
	return err
}

// holds reports whether the lease certainly lasts. It takes no lock, and is asked before each message.
func (l *lease) holds() bool {
	return time.Since(l.began)-time.Duration(l.beaten.Load()) < l.length*2/3
}

// beat says that this relay lives.
func (l *lease) beat(ctx context.Context) error {
	at := time.Since(l.began)
	result, err := l.db.ExecContext(ctx, "UPDATE leveret_outbox_relays SET beat = beat + 1 WHERE relay = $1", l.id)
	switch err := changed(result, err); {
	case errors.Is(err, errNothing):
		return errLost // another one has taken the slots
	case err != nil:
		return err
	}
	l.beaten.Store(int64(at))
	return nil
}

// share looks who else lives, takes the slots of those that do not, and as many that nobody owns as are this relay's share. It
// returns slots that it should give up to others.
func (l *lease) share(ctx context.Context) (tooMany []int, err error) {
	dead, alive, err := l.look(ctx)
	if err != nil {
		return nil, err
	}
	for relay, beat := range dead {
		if err := l.bury(ctx, relay, beat); err != nil {
			return nil, err
		}
	}
	owned, free, err := l.slots(ctx)
	if err != nil {
		return nil, err
	}
	want := (slots + alive - 1) / alive
	for _, slot := range free[:min(len(free), max(want-len(owned), 0))] {
		result, err := l.db.ExecContext(ctx, "UPDATE leveret_outbox_slots SET owner = $1 WHERE slot = $2 AND owner NOT IN (SELECT relay FROM leveret_outbox_relays)", l.id, slot)
		switch err := changed(result, err); {
		case err == nil:
			owned = append(owned, slot)
		case !errors.Is(err, errNothing):
			return nil, err
		}
	}
	keep := owned[:min(len(owned), want)]
	now := make(map[int]bool, len(keep))
	for _, slot := range keep {
		now[slot] = true
	}
	l.owned.Store(&now)
	return owned[len(keep):], nil
}

// look returns the relays whose beat has not changed for the length of a lease, and how many others there are, with this one.
func (l *lease) look(ctx context.Context) (dead map[string]int64, alive int, err error) {
	rows, err := l.db.QueryContext(ctx, "SELECT relay, beat FROM leveret_outbox_relays")
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rows.Close() }()
	dead, seen := map[string]int64{}, map[string]sighting{}
	for rows.Next() {
		var relay string
		var beat int64
		if err := rows.Scan(&relay, &beat); err != nil {
			return nil, 0, err
		}
		before, known := l.others[relay]
		if !known || before.beat != beat {
			before = sighting{beat, time.Now()}
		}
		if seen[relay] = before; relay != l.id && time.Since(before.at) > l.length {
			dead[relay] = beat
		} else {
			alive++
		}
	}
	l.others = seen
	return dead, max(alive, 1), rows.Err()
}

// bury frees the slots of a dead relay, unless its beat has gone on.
func (l *lease) bury(ctx context.Context, relay string, beat int64) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	result, err := tx.ExecContext(ctx, "DELETE FROM leveret_outbox_relays WHERE relay = $1 AND beat = $2", relay, beat)
	if err := changed(result, err); err != nil {
		if errors.Is(err, errNothing) {
			return nil
		}
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE leveret_outbox_slots SET owner = '' WHERE owner = $1", relay); err != nil {
		return err
	}
	return tx.Commit()
}

// slots returns the slots that are this relay's, and those that are nobody's. A relay may have taken one after it was buried.
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

// giveUp lets others have a slot. Nothing of it is being sent.
func (l *lease) giveUp(ctx context.Context, slot int) error {
	_, err := l.db.ExecContext(ctx, "UPDATE leveret_outbox_slots SET owner = '' WHERE slot = $1 AND owner = $2", slot, l.id)
	return err
}

// leave ends the lease, when nothing is being sent any more.
func (l *lease) leave(ctx context.Context) error {
	_, err1 := l.db.ExecContext(ctx, "UPDATE leveret_outbox_slots SET owner = '' WHERE owner = $1", l.id)
	_, err2 := l.db.ExecContext(ctx, "DELETE FROM leveret_outbox_relays WHERE relay = $1", l.id)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("give up the lease: %w", err)
	}
	return nil
}
