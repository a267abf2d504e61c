package topology_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/topology"
)

// The names of tiers are part of the public contract: see docs/wire.md.
func TestRetryTierNames(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		50 * time.Millisecond:   "retry.50ms",
		1500 * time.Millisecond: "retry.1500ms",
		time.Second:             "retry.1s",
		10 * time.Second:        "retry.10s",
		time.Minute:             "retry.1m",
		70 * time.Second:        "retry.1m10s",
		90 * time.Second:        "retry.1m30s",
		10 * time.Minute:        "retry.10m",
		630 * time.Second:       "retry.10m30s",
		time.Hour:               "retry.1h",
		90 * time.Minute:        "retry.1h30m",
		3630 * time.Second:      "retry.1h30s",
		10 * time.Hour:          "retry.10h",
	} {
		require.Equal(t, want, topology.Names{}.RetryTier("payment", d))
		require.Equal(t, "shop."+want, topology.Names{Namespace: "shop"}.RetryTier("payment", d))
	}
}
