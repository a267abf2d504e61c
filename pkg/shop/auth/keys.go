package auth

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// keys returns what to do with the signing keys now.
func (r rotation) keys(ctx context.Context, q store.Querier, now time.Time) (keyPlan, error) {
	rows, err := q.QueryContext(ctx, "SELECT key_id, seed, signs_from, ends_at FROM signing_keys ORDER BY signs_from")
	if err != nil {
		return keyPlan{}, fmt.Errorf("read the keys: %w", err)
	}
	keys, err := store.Collect(rows, func(r *sql.Rows, k *signingKey) error {
		var from, end sql.NullInt64
		if err := r.Scan(&k.id, &k.seed, &from, &end); err != nil {
			return err
		}
		k.signsFrom, k.endsAt = store.Time(from), store.Time(end)
		return nil
	})
	if err != nil {
		return keyPlan{}, fmt.Errorf("read the keys: %w", err)
	}
	return r.plan(now, keys), nil
}

// rotate carries out what has to be done with the signing keys now, and returns the plan for the keys as they are then:
// it has a signer. Since the transaction excludes others, two processes do not both make a key.
func (r rotation) rotate(ctx context.Context, tx *sql.Tx, now time.Time) (keyPlan, error) {
	p, err := r.keys(ctx, tx, now)
	if err != nil || !p.create && len(p.remove) == 0 {
		return p, err
	}
	if p.create {
		id, err := uuid.NewV7()
		if err != nil {
			return p, fmt.Errorf("make an id: %w", err)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO signing_keys (key_id, seed, signs_from, ends_at) VALUES ($1, $2, $3, $4)",
			id.String(), random(ed25519.SeedSize), store.Micros(p.signsFrom), store.Micros(p.endsAt))
		if err != nil {
			return p, fmt.Errorf("store the key: %w", err)
		}
	}
	for _, id := range p.remove {
		if _, err := tx.ExecContext(ctx, "DELETE FROM signing_keys WHERE key_id = $1", id); err != nil {
			return p, fmt.Errorf("remove the key: %w", err)
		}
	}
	return r.keys(ctx, tx, store.Moment(now))
}

func (k *signingKey) private() (ed25519.PrivateKey, error) {
	if len(k.seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("the key %s has %d bytes; it must have %d", k.id, len(k.seed), ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(k.seed), nil
}
