package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestComponents(t *testing.T) {
	t.Parallel()
	parts, err := of(t, order{}).Components("#/components/schemas/")
	require.NoError(t, err)
	require.Len(t, parts, 3) // itself, line and money
	require.Contains(t, string(parts[""]), `"lines":{"items":{"$ref":"#/components/schemas/line"}`)
	require.NotContains(t, string(parts[""]), "$schema")
	require.NotContains(t, string(parts[""]), "$defs")
	require.Contains(t, string(parts["money"]), `"amount":{"type":"integer","minimum":0}`)

	parts, err = of(t, node{}).Components("#/x/")
	require.NoError(t, err)
	require.Contains(t, string(parts["node"]), `"$ref":"#/x/node"`, "a type that holds itself is a definition, too")
}
