package user

import (
	"context"
	"database/sql"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// An Audit is the content of the user service's store, for checking the system from outside.
type Audit struct {
	Users []AuditedUser `json:"users"`
}

// An AuditedUser is one user in an audit.
type AuditedUser struct {
	UserID string `json:"user_id"`
	State  State  `json:"state"`
	// Announced says that user.registered was published.
	Announced bool `json:"announced"`
}

// Count returns how many users are in a state.
func (a Audit) Count(s State) int {
	n := 0
	for _, u := range a.Users {
		if u.State == s {
			n++
		}
	}
	return n
}

// ReadAudit reads a store, whose source is that of [store.View]. It writes nothing and does not block a worker that
// has the store open.
func ReadAudit(ctx context.Context, source string) (Audit, error) {
	var a Audit
	err := store.View(ctx, source, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT user_id, state, announced_at IS NOT NULL FROM users ORDER BY user_id")
		if err != nil {
			return err
		}
		a.Users, err = store.Collect(rows, func(r *sql.Rows, u *AuditedUser) error {
			return r.Scan(&u.UserID, &u.State, &u.Announced)
		})
		if err != nil {
			return err
		}
		return err
	})
	return a, err
}
