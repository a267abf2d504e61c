package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// ErrKeyReused means that an idempotency key was already used for a different request.
var ErrKeyReused = leveret.NewError(leveret.AlreadyExists, "idempotency_key_reused",
	"this idempotency key was already used for a different request")

// A Key is an idempotency key, together with the request that it is used for.
type Key struct {
	// Scope is where the key is unique: "payment.authorize", for example, or at an edge the operation and the user.
	Scope string
	// ID is the key that the client sent: the id of its message. If it is empty, nothing is recorded or found.
	ID string
	// Request is the decoded request. Two requests are the same if their JSON is, so that white space and unknown fields
	// do not matter, nor the transport. Only a hash is stored, but that of a short secret can be guessed: leave out
	// passwords.
	Request any
}

// ClaimKey records in tx, the transaction of its effect, that a key is used, and returns result. If the key was used
// for the same request before, ClaimKey changes nothing and returns the result of that time. If it was used for a
// different request, the error is [ErrKeyReused].
func ClaimKey(ctx context.Context, tx *sql.Tx, k Key, result string, now time.Time) (string, error) {
	if k.ID == "" {
		return result, nil
	}
	first, found, err := FindKey(ctx, tx, k)
	if found || err != nil {
		return first, err
	}
	hash, err := k.hash()
	if err != nil {
		return "", err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO idempotency_keys (scope, key, request, result, used_at) VALUES ($1, $2, $3, $4, $5)",
		k.Scope, k.ID, hash, result, Micros(now))
	if err != nil {
		return "", fmt.Errorf("claim the idempotency key: %w", err)
	}
	return result, nil
}

// FindKey returns the result of the first use of a key, and whether there was one. If that was for a different request,
// the error is [ErrKeyReused].
func FindKey(ctx context.Context, q Querier, k Key) (result string, found bool, err error) {
	if k.ID == "" {
		return "", false, nil
	}
	var request string
	err = q.QueryRowContext(ctx, "SELECT request, result FROM idempotency_keys WHERE scope = $1 AND key = $2", k.Scope, k.ID).
		Scan(&request, &result)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("find the idempotency key: %w", err)
	}
	hash, err := k.hash()
	if err != nil {
		return "", false, err
	}
	if hash != request {
		return "", false, ErrKeyReused
	}
	return result, true, nil
}

func (k Key) hash() (string, error) {
	body, err := json.Marshal(k.Request)
	if err != nil {
		return "", fmt.Errorf("encode the request: %w", err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}
