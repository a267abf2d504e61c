package management_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/management"
)

// Of a number that both kinds of policy set, the lower counts; each key is known to be one's or the other's.
func TestGoverned(t *testing.T) {
	t.Parallel()
	c, vhost := api(t), leverettest.VHost(t, leverettest.Broker(t))
	c.SetPageSize(1)
	for _, name := range []string{"orders", "free"} {
		require.NoError(t, c.Call(t.Context(), http.MethodPut, map[string]any{"durable": true}, nil, "queues", vhost, name))
	}
	for kind, definition := range map[string]map[string]any{
		"policies":          {"message-ttl": 1000, "max-length": 7, "max-length-bytes": 5},
		"operator-policies": {"message-ttl": 500, "max-length": 9, "expires": 3_600_000},
	} {
		body := map[string]any{"pattern": "^orders$", "definition": definition, "apply-to": "queues"}
		require.NoError(t, c.Call(t.Context(), http.MethodPut, body, nil, kind, vhost, "of-"+kind))
	}
	var found map[string]management.Governed
	require.Eventually(t, func() bool {
		var err error
		found, err = c.Governed(t.Context(), vhost)
		require.NoError(t, err)
		return len(found) == 2 && found["orders"].Policy != "" && found["orders"].Operator != "" && found["free"].State != ""
	}, 4*patience, 50*time.Millisecond)
	require.Empty(t, found["free"].Definition)
	require.Contains(t, []string{"running", "idle"}, found["free"].State)
	q := found["orders"]
	require.Equal(t, map[string]any{"message-ttl": 500.0, "max-length": 7.0, "max-length-bytes": 5.0, "expires": 3_600_000.0}, q.Definition)
	for key, want := range map[string]string{
		"message-ttl": "operator policy of-operator-policies", "expires": "operator policy of-operator-policies",
		"max-length": "policy of-policies", "max-length-bytes": "policy of-policies",
	} {
		require.Equal(t, want, q.Name(key), key)
	}
}
