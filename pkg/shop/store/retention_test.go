package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// What is older is forgotten, however much there is, and nothing else, although several replicas forget at once.
func TestForget(t *testing.T) {
	t.Parallel()
	source := shoptest.Source(t, "keys")
	s := open(t, source)
	now := time.Now()
	require.NoError(t, s.InTx(t.Context(), func(tx *sql.Tx) error {
		for i := range 1300 {
			at := now.Add(-8 * 24 * time.Hour).Add(time.Duration(i) * time.Millisecond)
			if i >= 1290 {
				at = now.Add(-6 * 24 * time.Hour)
			}
			k := store.Key{Scope: "buy", ID: fmt.Sprint(i), Request: purchase{Article: "tea"}}
			if _, err := store.ClaimKey(t.Context(), tx, k, "order", at); err != nil {
				return err
			}
		}
		return nil
	}))
	count := func() (n int) {
		require.NoError(t, s.Reader().QueryRowContext(t.Context(), "SELECT count(*) FROM idempotency_keys").Scan(&n))
		return n
	}
	ctx, stop := context.WithCancel(t.Context())
	const replicas = 3
	ended := make(chan error, replicas)
	for range replicas {
		replica := open(t, source)
		go func() {
			ended <- errors.Join(replica.ForgetBefore(ctx, now.Add(-7*24*time.Hour)), replica.Forget(ctx, slog.Default(), 7*24*time.Hour))
		}()
	}
	require.Eventually(t, func() bool { return count() == 10 }, 2*time.Minute, 5*time.Millisecond)
	stop()
	for range replicas {
		if err := <-ended; err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}

	// A key that is forgotten is free, for another request too; one that is remembered is not.
	other := purchase{Article: "mug"}
	_, err := claim(t, s, store.Key{Scope: "buy", ID: "0", Request: other}, "order-2")
	require.NoError(t, err)
	_, err = claim(t, s, store.Key{Scope: "buy", ID: "1299", Request: other}, "order-2")
	require.ErrorIs(t, err, store.ErrKeyReused)
}
