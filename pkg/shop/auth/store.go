package auth

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

//go:embed migrations
var migrations embed.FS

// A Store keeps credentials, sessions and signing keys. It is safe for concurrent use.
type Store struct{ *store.Store }

// OpenStore opens a store, whose source is that of [store.Open]. It holds the private keys, so nobody else may read it.
// The caller closes the store.
func OpenStore(ctx context.Context, source string) (*Store, error) {
	s, err := store.Open(ctx, source, migrations)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return &Store{s}, nil
}

// findHash returns the password hash of a user; false if the user has none.
func findHash(ctx context.Context, q store.Querier, userID string) (h passwordHash, found bool, err error) {
	var text string
	err = q.QueryRowContext(ctx, "SELECT hash FROM credentials WHERE user_id = $1", userID).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return h, false, nil
	}
	if err == nil {
		h, err = parseHash(text)
	}
	if err != nil {
		return h, false, fmt.Errorf("find the credentials: %w", err)
	}
	return h, true, nil
}

// insertHash stores the hash of a new user. It does nothing and returns false if the user has one already.
func (s *Store) insertHash(ctx context.Context, userID string, h passwordHash, now time.Time) (inserted bool, err error) {
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `
			INSERT INTO credentials (user_id, hash, set_at, changed_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			userID, h.String(), store.Micros(now), store.Micros(now))
		if err != nil {
			return fmt.Errorf("store the credentials: %w", err)
		}
		n, err := r.RowsAffected()
		inserted = n == 1
		return err
	})
	return inserted && err == nil, err
}

// replaceHash stores another hash of the same password, unless it was replaced already.
func replaceHash(ctx context.Context, tx *sql.Tx, userID string, old, fresh passwordHash, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE credentials SET hash = $1, changed_at = $2 WHERE user_id = $3 AND hash = $4",
		fresh.String(), store.Micros(now), userID, old.String())
	if err != nil {
		return fmt.Errorf("update the credentials: %w", err)
	}
	return nil
}

// insertSession begins a session, and returns its id.
func insertSession(ctx context.Context, tx *sql.Tx, userID string, now, expiresAt time.Time) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO sessions (session_id, user_id, began_at, expires_at) VALUES ($1, $2, $3, $4)",
		id.String(), userID, store.Micros(now), store.Micros(expiresAt))
	if err != nil {
		return "", fmt.Errorf("store the session: %w", err)
	}
	return id.String(), nil
}

// endSession ends a session, unless it has ended.
func endSession(ctx context.Context, tx *sql.Tx, sessionID, reason string, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE session_id = $3 AND ended_at IS NULL",
		store.Micros(now), reason, sessionID)
	if err != nil {
		return fmt.Errorf("end the session: %w", err)
	}
	return nil
}

// insertToken stores an unused refresh token, by which its session lives longer.
func insertToken(ctx context.Context, tx *sql.Tx, hash []byte, t *refreshToken) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO refresh_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)",
		hash, t.sessionID, store.Micros(t.expiresAt))
	if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE sessions SET expires_at = $1 WHERE session_id = $2", store.Micros(t.expiresAt), t.sessionID)
	}
	if err != nil {
		return fmt.Errorf("store the refresh token: %w", err)
	}
	return nil
}

// useToken records that a refresh token was exchanged for another one.
func useToken(ctx context.Context, tx *sql.Tx, t *refreshToken, salt, successor []byte, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE refresh_tokens SET used_at = $1, used_by = $2, salt = $3, successor = $4 WHERE hash = $5",
		store.Micros(now), store.MessageID(ctx), salt, successor, t.hash)
	if err != nil {
		return fmt.Errorf("update the refresh token: %w", err)
	}
	return nil
}

// findToken returns a refresh token; nil if it is unknown.
func findToken(ctx context.Context, q store.Querier, hash []byte) (*refreshToken, error) {
	t := refreshToken{hash: hash}
	var expires, used sql.NullInt64
	err := q.QueryRowContext(ctx, `
		SELECT s.session_id, s.user_id, s.ended_at IS NOT NULL, t.expires_at, t.used_at, t.used_by, t.salt,
			coalesce((SELECT n.used_at IS NOT NULL FROM refresh_tokens n WHERE n.hash = t.successor), false)
		FROM refresh_tokens t JOIN sessions s USING (session_id) WHERE t.hash = $1`, hash).
		Scan(&t.sessionID, &t.userID, &t.ended, &expires, &used, &t.usedBy, &t.salt, &t.superseded)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // an unknown token is no error here
	}
	if err != nil {
		return nil, fmt.Errorf("find the refresh token: %w", err)
	}
	t.expiresAt, t.usedAt = store.Time(expires), store.Time(used)
	return &t, nil
}

// removeExpired removes up to limit expired refresh tokens, and as many expired sessions. It returns the larger of both
// numbers.
func (s *Store) removeExpired(ctx context.Context, now time.Time, limit int) (removed int64, err error) {
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		removed = 0
		for _, statement := range [...]string{
			"DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens WHERE expires_at <= $1 LIMIT $2)",
			"DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM sessions WHERE expires_at <= $1 LIMIT $2)",
		} {
			r, err := tx.ExecContext(ctx, statement, store.Micros(now), limit)
			if err != nil {
				return fmt.Errorf("remove what has expired: %w", err)
			}
			n, err := r.RowsAffected()
			if err != nil {
				return fmt.Errorf("remove what has expired: %w", err)
			}
			removed = max(removed, n)
		}
		return nil
	})
	return removed, err
}
