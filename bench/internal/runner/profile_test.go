package runner

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const topOfPprof = `File: bench
Type: cpu
Showing nodes accounting for 340ms, 100% of 340ms total
      flat  flat%   sum%        cum   cum%
      50ms 14.71% 14.71%       50ms 14.71%  internal/runtime/syscall/linux.Syscall6
      20ms  5.88% 20.59%       70ms 20.59%  github.com/leveretmq/leveret/pkg/leveret.send[go.shape.struct { ID string "json:\"id\"" }] (inline)
      10ms  2.94% 23.53%       10ms  2.94%  github.com/leveretmq/leveret/bench/internal/peers.ID
`

func TestPlacesIn(t *testing.T) {
	t.Parallel()
	require.Equal(t, []Place{
		{"internal/runtime/syscall/linux.Syscall6", "14.71%"},
		{"github.com/leveretmq/leveret/pkg/leveret.send", "5.88%"},
	}, placesIn([]byte(topOfPprof), false, 2))
	require.Equal(t, []Place{{"github.com/leveretmq/leveret/pkg/leveret.send", "20.59%"}}, placesIn([]byte(topOfPprof), true, 3))
}
