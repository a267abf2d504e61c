package auth

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

func TestHash(t *testing.T) {
	t.Parallel()
	c, err := Config{}.withDefaults()
	require.NoError(t, err)
	h := newHasher(c)
	made, err := h.hash(t.Context(), "correct horse")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(made.String(), "$argon2id$v=19$m=19456,t=2,p=1$"), made.String())
	stored, err := parseHash(made.String())
	require.NoError(t, err)
	require.Equal(t, made, stored)
	for password, want := range map[leveret.Secret]bool{"correct horse": true, "correct horsf": false, "": false} {
		ok, err := h.check(t.Context(), password, stored)
		require.NoError(t, err)
		require.Equal(t, want, ok)
	}
	again, err := h.hash(t.Context(), "correct horse")
	require.NoError(t, err)
	require.NotEqual(t, made.String(), again.String(), "the salt differs")
}

// TestForeignHash checks a hash that the reference implementation has made:
// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1.
func TestForeignHash(t *testing.T) {
	t.Parallel()
	stored, err := parseHash("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	require.NoError(t, err)
	c, err := Config{}.withDefaults()
	require.NoError(t, err)
	ok, err := newHasher(c).check(t.Context(), "password", stored)
	require.NoError(t, err)
	require.True(t, ok)
}

func TestHashesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "plain", "$2a$10$abc", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536000,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=1 $c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=65536,t=2,p=1$$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
	} {
		_, err := parseHash(text)
		require.Error(t, err, text)
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := parseHash(text); err == nil && h.String() != text {
			t.Fatal(text)
		}
	})
}

// TestHashesAtOnce: of a thousand, as many run at once as may, as many wait as may, and the rest is refused. Each that
// runs has the memory of one hash, so this bounds the memory.
func TestHashesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := Config{MaxHashes: 3, MaxWaiting: 10}.withDefaults()
		require.NoError(t, err)
		h := newHasher(c)
		var running, most, refused, done atomic.Int64
		release := make(chan struct{})
		h.derive = func(_, _ []byte, _ hashParams, size uint32) []byte {
			most.Store(max(most.Load(), running.Add(1)))
			<-release
			running.Add(-1)
			return make([]byte, size)
		}
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				_, err := h.hash(t.Context(), "x")
				switch {
				case err == nil:
					done.Add(1)
				case leveret.CodeOf(err) == leveret.ResourceExhausted && leveret.RetryDelay(err) == overloadDelay:
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		require.EqualValues(t, 3, running.Load())
		require.EqualValues(t, 987, refused.Load())
		_, err = h.hash(t.Context(), "x")
		require.ErrorIs(t, err, ErrOverloaded)
		close(release)
		wg.Wait()
		require.EqualValues(t, 13, done.Load())
		require.EqualValues(t, 3, most.Load())
		require.Zero(t, h.waiting.Load())
	})
}

// TestWaitingEnds: a caller that gives up does not wait on, and is not computed for.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	c, err := Config{MaxHashes: 1}.withDefaults()
	require.NoError(t, err)
	h := newHasher(c)
	h.slots <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := h.hash(ctx, "x")
		ended <- err
	}()
	require.Eventually(t, func() bool { return h.waiting.Load() == 1 }, time.Minute, time.Millisecond)
	cancel()
	err = <-ended
	require.ErrorIs(t, err, leveret.Canceled)
	require.ErrorIs(t, err, context.Canceled)
	<-h.slots
	_, err = h.hash(ctx, "x")
	require.ErrorIs(t, err, leveret.Canceled, "nor if it is its turn")
	require.Zero(t, h.waiting.Load())
}
