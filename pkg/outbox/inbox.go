package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Once is middleware that has each command and event handled once: the handler's effect and the id of the message are
// committed in one transaction, which the handler gets with [Tx]. A message that was handled before is acked without its
// handler, and so is one that another worker is handling now, once that one has committed. If the handler fails, nothing of
// its transaction remains, and the message is tried again as ever. What it has stored with [In] is sent once the transaction
// is committed.
//
// A message is recognised by its id, its contract, and its queue: two subscriptions to an event handle it once each, and so do two
// services that share the tables, which only a relay is particular about. A message without an id, as foreign senders may send, is
// not recognised. Requests are not handled in a transaction.
//
// The transaction is rolled back whatever error the handler returns, [leveret.Discard] too. Where [Config].InTx repeats a
// transaction, the handler is called again; what it sends has the same ids then, whether by [In] or by a client. A handler must
// not commit the transaction or roll it back itself, nor use another one of a SQLite database meanwhile.
func (o *Outbox) Once(next leveret.Handler) leveret.Handler {
	return func(ctx context.Context, m *leveret.Message) error {
		if m.Contract.Spec().Kind == leveret.KindRequest {
			return next(ctx, m)
		}
		if o.claims.Add(1)%(chunk/2) == 0 {
			o.prune(ctx)
		}
		if within, _ := ctx.Value(txKey{}).(handling); within.outbox == o {
			return next(ctx, m) // the middleware is there twice
		}
		rewind := leveret.Rewind(ctx)
		return o.InTx(ctx, func(tx *sql.Tx) error {
			rewind()
			if m.ID != "" {
				first, err := o.claim(ctx, tx, m)
				if err != nil || !first {
					return err
				}
			}
			return next(context.WithValue(ctx, txKey{}, handling{o, tx}), m)
		})
	}
}

// claim notes the id of a message; it reports false where that is noted already. It waits for another transaction that has
// just done so.
func (o *Outbox) claim(ctx context.Context, tx *sql.Tx, m *leveret.Message) (first bool, err error) {
	result, err := tx.ExecContext(ctx, `INSERT INTO leveret_inbox (message_id, queue, contract, until) VALUES ($1, $2, $3, $4)
		ON CONFLICT (message_id, queue, contract) DO NOTHING`, quoted(m.ID), m.Queue, m.Contract.Spec().Name, time.Now().Add(o.config.Remember).UnixMicro())
	err = changed(result, err)
	if errors.Is(err, errNothing) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("note in the inbox that the message was handled: %w", err)
	}
	return true, nil
}

// quoted returns an id as every database can hold it.
func quoted(id string) string {
	if !wire.IsStorable(id) {
		return strconv.Quote(id)
	}
	return id
}

type txKey struct{}

// A handling is what a handler's context holds.
type handling struct {
	outbox *Outbox
	tx     *sql.Tx
}

// Tx returns the transaction in which [Outbox.Once] handles the message of ctx; nil outside of it.
func Tx(ctx context.Context) *sql.Tx {
	within, _ := ctx.Value(txKey{}).(handling)
	return within.tx
}
