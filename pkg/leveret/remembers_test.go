package leveret_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

func TestRemembers(t *testing.T) {
	t.Parallel()
	require.Zero(t, leveret.NewService("a").Remembers())
	for _, d := range []time.Duration{time.Hour, leveret.Forever} {
		s := leveret.NewService("a", leveret.Remembers(d))
		require.NoError(t, s.Err())
		require.Equal(t, d, s.Remembers())
	}
	require.EqualError(t, leveret.NewService("a", leveret.Remembers(0)).Err(), `service "a": Remembers: 0s must be positive`)
	require.EqualError(t, leveret.NewService("a", leveret.Remembers(time.Hour), leveret.Remembers(time.Hour)).Err(),
		`service "a": Remembers is given twice`)
}
