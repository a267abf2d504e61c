package user

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

//go:embed migrations
var migrations embed.FS

// A Store keeps users. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens a store, whose source is that of [store.Open]. The caller closes the store.
func OpenStore(ctx context.Context, source string) (*Store, error) {
	s, err := store.Open(ctx, source, migrations)
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	return &Store{s}, nil
}

// insert stores a new user as pending, and returns the user. If there is one with this id already, insert returns that
// one, or ErrUserExists if the email or the name differs. It returns ErrEmailTaken if another user has the email, unless
// that one has been pending for longer than pendingTTL: that one is then removed.
func (s *Store) insert(ctx context.Context, r queues.RegisterUserRequest, now time.Time, pendingTTL time.Duration) (u *User, err error) {
	email := queues.NormalEmail(r.Email)
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		if u, err = scan(tx.QueryRowContext(ctx, selectUser+"user_id = $1", r.UserID)); !errors.Is(err, ErrUnknown) {
			if err == nil && (u.Email != email || u.Name != r.Name) {
				err = ErrUserExists
			}
			return err
		}
		other, err := scan(tx.QueryRowContext(ctx, selectUser+"email = $1", email))
		switch {
		case errors.Is(err, ErrUnknown):
		case err != nil:
			return err
		case other.State == StateActive, now.Sub(other.RegisteredAt) < pendingTTL:
			return ErrEmailTaken
		default:
			if _, err := tx.ExecContext(ctx, "DELETE FROM users WHERE user_id = $1", other.ID); err != nil {
				return fmt.Errorf("remove a pending user: %w", err)
			}
		}
		u = &User{ID: r.UserID, Email: email, Name: r.Name, State: StatePending, RegisteredAt: store.Moment(now)}
		_, err = tx.ExecContext(ctx, "INSERT INTO users (user_id, email, name, state, registered_at) VALUES ($1, $2, $3, $4, $5)",
			u.ID, u.Email, u.Name, u.State, store.Micros(now))
		if err != nil {
			return fmt.Errorf("store the user: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// activate makes a pending user active. It returns ErrEmailTaken if the user was removed in the meantime.
func (s *Store) activate(ctx context.Context, userID string) (u *User, err error) {
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE users SET state = $1 WHERE user_id = $2", StateActive, userID); err != nil {
			return fmt.Errorf("activate the user: %w", err)
		}
		u, err = scan(tx.QueryRowContext(ctx, selectUser+"user_id = $1", userID))
		if errors.Is(err, ErrUnknown) {
			return ErrEmailTaken
		}
		return err
	})
	return u, err
}

// announced records that a user was announced.
func (s *Store) announced(ctx context.Context, userID string, now time.Time) error {
	return s.InTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE users SET announced_at = $1 WHERE user_id = $2 AND announced_at IS NULL",
			store.Micros(now), userID)
		if err != nil {
			return fmt.Errorf("update the user: %w", err)
		}
		return nil
	})
}

// notAnnounced returns active users who were not announced, up to a limit.
func (s *Store) notAnnounced(ctx context.Context, limit int) ([]*User, error) {
	rows, err := s.Reader().QueryContext(ctx,
		selectUser+"state = 'active' AND announced_at IS NULL ORDER BY registered_at LIMIT $1", limit)
	if err != nil {
		return nil, fmt.Errorf("find users: %w", err)
	}
	return store.Collect(rows, func(r *sql.Rows, u **User) (err error) {
		*u, err = scan(r)
		return err
	})
}

// find returns an active user, or ErrUnknown.
func (s *Store) find(ctx context.Context, userID string) (*User, error) {
	return scan(s.Reader().QueryRowContext(ctx, selectUser+"user_id = $1 AND state = 'active'", userID))
}

// findByEmail returns an active user, or ErrUnknown.
func (s *Store) findByEmail(ctx context.Context, email string) (*User, error) {
	return scan(s.Reader().QueryRowContext(ctx, selectUser+"email = $1 AND state = 'active'", email))
}

const selectUser = "SELECT user_id, email, name, state, registered_at FROM users WHERE "

// scan reads a row of selectUser. It returns ErrUnknown where there is none.
func scan(row interface{ Scan(into ...any) error }) (*User, error) {
	var u User
	var registered sql.NullInt64
	err := row.Scan(&u.ID, &u.Email, &u.Name, &u.State, &registered)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("find the user: %w", err)
	}
	u.RegisteredAt = store.Time(registered)
	return &u, nil
}
