package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
)

// Outbox returns the outbox and inbox of a store, and creates their tables where they are missing. It sets DB and InTx of
// config.
func (s *Store) Outbox(ctx context.Context, config outbox.Config) (*outbox.Outbox, error) {
	config.DB, config.InTx = s.db, s.InTx
	o, err := outbox.New(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("the store %s: %w", s.kind, err)
	}
	return o, nil
}

// Once runs f in a transaction of the store of o, together with the id of the command or event in ctx: if that was handled
// before, f does not run, and Once returns nil. For a request, and outside a handler, f always runs. What f stores with
// [outbox.In] is sent once the transaction is committed. f may run more than once, as in [Store.InTx].
//
// It is what [outbox.Outbox.Once] is as middleware, but for a handler that has something to do before its transaction, such
// as a call.
func Once(ctx context.Context, o *outbox.Outbox, f func(tx *sql.Tx) error) error {
	m := leveret.MessageFrom(ctx)
	if m == nil || m.Contract.Spec().Kind == leveret.KindRequest {
		rewind := leveret.Rewind(ctx)
		return o.InTx(ctx, func(tx *sql.Tx) error {
			rewind()
			return f(tx)
		})
	}
	return o.Once(func(ctx context.Context, _ *leveret.Message) error { return f(outbox.Tx(ctx)) })(ctx, m)
}

// MessageID returns the id of the message being handled. It is empty outside a handler, or if the sender set no id.
func MessageID(ctx context.Context) string {
	if m := leveret.MessageFrom(ctx); m != nil {
		return m.ID
	}
	return ""
}

// Unsent counts the messages in the outbox of a store that should be sent: all but those for later.
func Unsent(ctx context.Context, q Querier) (n int, err error) {
	if err := q.QueryRowContext(ctx, "SELECT count(*) FROM leveret_outbox WHERE due_at = 0 OR tries > 0").Scan(&n); err != nil {
		return 0, fmt.Errorf("count the outbox: %w", err)
	}
	return n, nil
}
