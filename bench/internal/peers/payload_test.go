package peers_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/peers"
)

func TestPayloadsTakeWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, size := range []int{256, 16 << 10, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(peers.Payloads(size)(123))
			require.NoError(t, err)
			require.Len(t, body, size)
		})
	}
}

func TestEveryPeerSaysWhoItIs(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, p := range peers.All() {
		require.False(t, seen[p.Name], p.Name)
		seen[p.Name] = true
		require.NotEmpty(t, p.About, p.Name)
		require.True(t, p.Transport != peers.RabbitMQ || p.Sender != nil || p.FilledBy != "", "%s can neither send nor be filled", p.Name)
		found, ok := peers.Find(p.Name)
		require.True(t, ok)
		require.Equal(t, p.Name, found.Name)
	}
	_, ok := peers.Find("nobody")
	require.False(t, ok)
}
