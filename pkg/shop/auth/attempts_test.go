package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

func TestAttempts(t *testing.T) {
	t.Parallel()
	c, err := Config{UserAttempts: 3, UserInterval: 10 * time.Second, TotalAttempts: 8, TotalInterval: 5 * time.Second}.withDefaults()
	require.NoError(t, err)
	a := newAttempts(c)
	now := noon
	refused := func(userID string, wait time.Duration) {
		t.Helper()
		err := a.take(userID, now)
		require.ErrorIs(t, err, ErrTooManyAttempts)
		require.ErrorIs(t, leveret.DecodeProblem(leveret.EncodeProblem(err)), ErrTooManyAttempts)
		require.InDelta(t, wait.Seconds(), leveret.RetryDelay(err).Seconds(), 0.01)
	}
	for range 3 {
		require.NoError(t, a.take("ada", now))
	}
	for range 100 {
		refused("ada", 10*time.Second)
	}
	require.NoError(t, a.take("bob", now), "what was refused counts for nobody else")
	for range 4 {
		require.NoError(t, a.take("", now))
	}
	refused("", 5*time.Second)
	refused("bob", 5*time.Second)
	refused("eve", 5*time.Second)
	require.Len(t, a.users, 2, "what the total refuses is not remembered")
	now = now.Add(10 * time.Second)
	require.NoError(t, a.take("ada", now))
	refused("ada", 10*time.Second)
}

// While others use up the total, a user who tries again and again loses no attempt.
func TestTotalCostsUsersNothing(t *testing.T) {
	t.Parallel()
	c, err := Config{UserAttempts: 3, UserInterval: time.Hour, TotalAttempts: 4, TotalInterval: time.Second}.withDefaults()
	require.NoError(t, err)
	a := newAttempts(c)
	require.NoError(t, a.take("ada", noon))
	for range 3 {
		require.NoError(t, a.take("", noon))
	}
	for range 10 {
		require.ErrorIs(t, a.take("ada", noon), ErrTooManyAttempts)
	}
	later := noon.Add(4 * time.Second)
	require.NoError(t, a.take("ada", later))
	require.NoError(t, a.take("ada", later))
	require.ErrorIs(t, a.take("ada", later), ErrTooManyAttempts)
}

func TestManyUsersAreForgotten(t *testing.T) {
	t.Parallel()
	c, err := Config{UserAttempts: 2, TotalAttempts: 1 << 30}.withDefaults()
	require.NoError(t, err)
	a := newAttempts(c)
	a.most = 100
	for i := range 100 {
		require.NoError(t, a.take(fmt.Sprint(i), noon))
	}
	require.ErrorIs(t, a.take("one more", noon), ErrTooManyAttempts)
	require.NoError(t, a.take("7", noon), "who is remembered can go on")
	require.ErrorIs(t, a.take("7", noon), ErrTooManyAttempts)
	require.NoError(t, a.take("one more", noon.Add(6*time.Second)))
	require.Len(t, a.users, 2, "and those are forgotten who are like new")
}
