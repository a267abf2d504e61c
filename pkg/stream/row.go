package stream

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
)

// A row is the row of the table leveret_positions that says how far a projection has come with a stream. There is one from
// the beginning, so that those who write to it at the same time wait for each other.
type row struct {
	inTx               func(context.Context, func(*sql.Tx) error) error
	projection, stream string
}

// None is the offset of a [Position] before the first event.
const None int64 = -1

// progress is what a row says.
type progress struct {
	Position           // with the offset None at the beginning
	sentAt   time.Time // of the event at Position
	trouble  string    // why it stands still; empty where it does not
	since    time.Time // when that began
}

// errMoved says that somebody else has moved the position: another process, or a rebuild.
var errMoved = errors.New("the position was moved by somebody else")

const createPositions = `CREATE TABLE IF NOT EXISTS leveret_positions (
	projection   TEXT NOT NULL,
	stream       TEXT NOT NULL,
	event_offset BIGINT NOT NULL,
	message_id   TEXT NOT NULL,
	sent_at      BIGINT NOT NULL,
	trouble      TEXT NOT NULL,
	trouble_at   BIGINT NOT NULL,
	PRIMARY KEY (projection, stream)
)`

// read returns what the row says. It makes the row, and the table, where there is none.
func (r row) read(ctx context.Context) (progress, error) {
	var found progress
	look := func(tx *sql.Tx) (err error) {
		found, err = r.find(ctx, tx)
		return err
	}
	err := r.inTx(ctx, look)
	if err == nil || ctx.Err() != nil {
		return found, r.about(err)
	}
	// Perhaps there is no table. Where it cannot be made, another process may just have done so.
	_ = r.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, createPositions)
		return err
	})
	return found, r.about(r.inTx(ctx, look))
}

func (r row) find(ctx context.Context, tx *sql.Tx) (progress, error) {
	var p progress
	var sent, since int64
	const query = `SELECT event_offset, message_id, sent_at, trouble, trouble_at FROM leveret_positions WHERE projection = $1 AND stream = $2`
	err := tx.QueryRowContext(ctx, query, r.projection, r.stream).Scan(&p.Offset, &p.ID, &sent, &p.trouble, &since)
	if errors.Is(err, sql.ErrNoRows) {
		p.Offset = None
		_, err = tx.ExecContext(ctx, `INSERT INTO leveret_positions (projection, stream, event_offset, message_id, sent_at, trouble, trouble_at)
			VALUES ($1, $2, $3, '', 0, '', 0) ON CONFLICT (projection, stream) DO NOTHING`, r.projection, r.stream, None)
	}
	p.sentAt, p.since = timeOf(sent), timeOf(since)
	return p, err
}

// move moves the position in the transaction of the effect. Where it is no longer the one that the effect began from, the
// error is errMoved, and the transaction must be rolled back. Call it first: whoever does so later waits until the
// transaction has ended.
func (r row) move(ctx context.Context, tx *sql.Tx, from Position, to Event) error {
	at := positionOf(to)
	return r.update(ctx, tx, from, at, micros(to.Sent()))
}

func (r row) update(ctx context.Context, tx *sql.Tx, from, to Position, sent int64) error {
	result, err := tx.ExecContext(ctx, `UPDATE leveret_positions SET event_offset = $1, message_id = $2, sent_at = $3, trouble = '', trouble_at = 0
		WHERE projection = $4 AND stream = $5 AND event_offset = $6 AND message_id = $7`,
		to.Offset, to.ID, sent, r.projection, r.stream, from.Offset, from.ID)
	return r.moved(result, err)
}

// moved returns errMoved where nothing was updated.
func (r row) moved(result sql.Result, err error) error {
	if err != nil {
		return r.about(err)
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return errMoved
	}
	return r.about(err)
}

// reset puts the position before the first event.
func (r row) reset(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE leveret_positions SET event_offset = $1, message_id = '', sent_at = 0, trouble = '', trouble_at = 0
		WHERE projection = $2 AND stream = $3`, None, r.projection, r.stream)
	return r.about(err)
}

// complain writes down why the projection stands still at a position, if it still does.
func (r row) complain(ctx context.Context, at Position, trouble string, since time.Time) error {
	return r.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE leveret_positions SET trouble = $1, trouble_at = $2
			WHERE projection = $3 AND stream = $4 AND event_offset = $5 AND message_id = $6`,
			wire.Storable(trouble), micros(since), r.projection, r.stream, at.Offset, at.ID)
		return err
	})
}

func (r row) about(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the table leveret_positions: %w", err)
}

// positionOf returns the position of an event. A message id that PostgreSQL could not hold is left out.
func positionOf(e Event) Position {
	if id := e.MessageId; wire.Storable(id) == id {
		return Position{e.Offset, id}
	}
	return Position{Offset: e.Offset}
}

// micros and timeOf convert times as they are stored; 0 is the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
