package cli_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

func TestShowLooksAtAllDeadLetters(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 1003, "not_found", `{"n":%d}`)
	c := kitchenAt(t, url, "dlq", "show", "oven.bake", "-o", "jsonl", "--where", "payload.n in [3, 1001, 1002]", "--limit", "2")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Equal(t, `{"note":"showing 2 of 3; --limit shows more"}`+"\n", c.err.String())
	lines := c.out.lines()
	require.Len(t, lines, 2)
	for i, n := range []int{3, 1001} {
		var letter struct {
			Payload struct{ N int }
		}
		require.NoError(t, json.Unmarshal([]byte(lines[i]), &letter))
		require.Equal(t, n, letter.Payload.N)
	}
	{
		which := "not_found-1001"
		c := kitchenAt(t, url, "dlq", "show", "oven.bake", which, "-o", "jsonl")
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		require.Contains(t, c.out.String(), `{"id":"not_found-1001",`)
	}
	c = kitchenAt(t, url, "dlq", "show", "oven.bake", "--where", "payload.n > 1003")
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Equal(t, "none of 1003 dead letters matches --where\n", c.err.String())
	c = kitchenAt(t, url, "dlq", "show", "oven.bake", "--limit", "1")
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Equal(t, "showing 1 of 1003; --limit shows more\n", c.err.String())
	c = kitchenAt(t, url, "dlq", "show", "oven.bake", "1004")
	require.Equal(t, cli.ExitNotFound, c.run(t.Context()))
	require.Contains(t, c.err.String(), `oven.bake has no dead letter "1004"; it has 1003`)
}
