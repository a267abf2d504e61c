package shopcli_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compat"
	"github.com/leveretmq/leveret/pkg/shop/shopcli"
)

// The shop keeps its contracts since its last release, and a change that breaks one of them is found.
func TestContractsOfTheLastRelease(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../queues/contracts.lock.json")
	require.NoError(t, err)
	released, err := compat.Read(text)
	require.NoError(t, err)
	current, err := compat.Of(shopcli.Catalog)
	require.NoError(t, err)
	breaks := func() (found []compat.Finding) {
		all, err := compat.Check(released, current)
		require.NoError(t, err)
		for _, f := range all {
			if f.Severity == compat.Breaks {
				found = append(found, f)
			}
		}
		return found
	}
	require.Empty(t, breaks(), "decide how to deploy this, then: leveret contracts lock -f queues/contracts.lock.json --accept-breaking")

	for i := range current.Contracts {
		if c := &current.Contracts[i]; c.Name == "order.place" {
			c.Payload = []byte(`{"type":"object","properties":{"coupon":{"type":"string"}},"required":["coupon"]}`)
		}
	}
	found := breaks()
	require.NotEmpty(t, found, "a planted break is found")
	require.Equal(t, "coupon", found[0].Path)
	require.NotEmpty(t, found[0].Counterexample)
}
