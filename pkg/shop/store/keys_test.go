package store_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

type purchase struct {
	Article string `json:"article"`
	Count   int    `json:"count,omitempty"`
}

func claim(t *testing.T, s *store.Store, k store.Key, result string) (first string, err error) {
	t.Helper()
	err = s.InTx(t.Context(), func(tx *sql.Tx) error {
		first, err = store.ClaimKey(t.Context(), tx, k, result, time.Now())
		return err
	})
	return first, err
}

func TestClaimKey(t *testing.T) {
	t.Parallel()
	path := shoptest.Source(t, "keys")
	s := open(t, path)
	k := store.Key{Scope: "buy", ID: "7", Request: purchase{Article: "tea"}}
	_, found, err := store.FindKey(t.Context(), s.Reader(), k)
	require.NoError(t, err)
	require.False(t, found)

	first, err := claim(t, s, k, "order-1")
	require.NoError(t, err)
	require.Equal(t, "order-1", first)

	s = open(t, path) // another process
	again, err := claim(t, s, k, "order-2")
	require.NoError(t, err)
	require.Equal(t, "order-1", again, "the result of the first use")
	again, found, err = store.FindKey(t.Context(), s.Reader(), k)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "order-1", again)

	other := k
	other.Request = purchase{Article: "tea", Count: 2}
	_, err = claim(t, s, other, "order-3")
	require.ErrorIs(t, err, store.ErrKeyReused)
	require.ErrorIs(t, err, leveret.AlreadyExists)
	_, found, err = store.FindKey(t.Context(), s.Reader(), other)
	require.ErrorIs(t, err, store.ErrKeyReused)
	require.False(t, found)

	other.Scope = "sell"
	first, err = claim(t, s, other, "order-4")
	require.NoError(t, err, "another scope")
	require.Equal(t, "order-4", first)

	long := store.Key{Scope: "buy", ID: strings.Repeat("ü", 127), Request: other.Request}
	_, err = claim(t, s, long, "order-5")
	require.NoError(t, err)
}

// Without a key there is nothing to remember.
func TestNoKey(t *testing.T) {
	t.Parallel()
	s := open(t, shoptest.Source(t, "keys"))
	for _, result := range []string{"a", "b"} {
		first, err := claim(t, s, store.Key{Scope: "buy", Request: purchase{Article: result}}, result)
		require.NoError(t, err)
		require.Equal(t, result, first)
	}
	_, found, err := store.FindKey(t.Context(), s.Reader(), store.Key{Scope: "buy"})
	require.NoError(t, err)
	require.False(t, found)
}

// A key that was claimed for an effect that did not happen is free.
func TestKeyOfARolledBackEffect(t *testing.T) {
	t.Parallel()
	s := open(t, shoptest.Source(t, "keys"))
	k := store.Key{Scope: "buy", ID: "7", Request: purchase{Article: "tea"}}
	err := s.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := store.ClaimKey(t.Context(), tx, k, "order-1", time.Now())
		require.NoError(t, err)
		return leveret.Unavailable
	})
	require.ErrorIs(t, err, leveret.Unavailable)
	k.Request = purchase{Article: "mug"}
	_, err = claim(t, s, k, "order-2")
	require.NoError(t, err)
}

// Of several that use one key at once, one is the first.
func TestClaimAtOnce(t *testing.T) {
	t.Parallel()
	path := shoptest.Source(t, "keys")
	stores := []*store.Store{open(t, path), open(t, path)}
	k := store.Key{Scope: "buy", ID: "7", Request: purchase{Article: "tea"}}
	results := make([]string, 20)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = claim(t, stores[i%2], k, string(rune('a'+i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range results {
		require.Equal(t, results[0], r)
	}
}
