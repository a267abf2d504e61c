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
      10ms  2.94% 23.53%       10ms  2.94%  github.com/leveretmq/leveret/pkg/leveret.(*Client).Send
`

func TestPlacesIn(t *testing.T) {
	t.Parallel()
	places := placesIn([]byte(topOfPprof))
	require.Equal(t, []Place{
		{"internal/runtime/syscall/linux.Syscall6", 14.71},
		{"github.com/leveretmq/leveret/pkg/leveret.send", 5.88},
		{"github.com/leveretmq/leveret/pkg/leveret.(*Client).Send", 2.94},
	}, places)
	packages := byPackage(places)
	require.Equal(t, "internal/runtime/syscall/linux", packages[0].Name)
	require.Equal(t, "github.com/leveretmq/leveret/pkg/leveret", packages[1].Name)
	require.InDelta(t, 8.82, packages[1].Percent, 1e-9)
	require.Len(t, first(packages, 1), 1)
	require.Len(t, first(packages, 9), 2)
}
