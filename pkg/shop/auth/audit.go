package auth

import (
	"context"
	"database/sql"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// An Audit is the content of the auth service's store, for checking the system from outside. It holds no secrets.
type Audit struct {
	// UserIDs are the users who have a password, sorted.
	UserIDs []string `json:"user_ids"`
	// Sessions counts sessions by what became of them.
	Sessions Sessions `json:"sessions"`
	// Keys counts the signing keys.
	Keys int `json:"keys"`
}

// Sessions counts sessions.
type Sessions struct {
	Open      int `json:"open"`
	LoggedOut int `json:"logged_out"`
	// Reused counts those that ended because a refresh token was used twice.
	Reused int `json:"reused"`
}

// ReadAudit reads a store, whose source is that of [store.View]. It writes nothing and does not block a worker that
// has the store open.
func ReadAudit(ctx context.Context, source string) (Audit, error) {
	var a Audit
	err := store.View(ctx, source, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT user_id FROM credentials ORDER BY user_id")
		if err != nil {
			return err
		}
		a.UserIDs, err = store.Collect(rows, func(r *sql.Rows, id *string) error { return r.Scan(id) })
		if err != nil {
			return err
		}
		err = q.QueryRowContext(ctx, `
			SELECT count(*) FILTER (WHERE end_reason = ''), count(*) FILTER (WHERE end_reason = 'logged_out'),
				count(*) FILTER (WHERE end_reason = 'token_reused') FROM sessions`).
			Scan(&a.Sessions.Open, &a.Sessions.LoggedOut, &a.Sessions.Reused)
		if err != nil {
			return err
		}
		return q.QueryRowContext(ctx, "SELECT count(*) FROM signing_keys").Scan(&a.Keys)
	})
	return a, err
}
