package compat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compat"
)

// lockOfFields returns a lock file of one command, whose payload has so many fields.
func lockOfFields(tb testing.TB, fields int, required bool) *compat.Lock {
	tb.Helper()
	var all, names []string
	for i := range fields {
		all = append(all, fmt.Sprintf(`"f%d":{"type":"string"}`, i))
		if required {
			names = append(names, fmt.Sprintf(`"f%d"`, i))
		}
	}
	l, err := compat.Read(fmt.Appendf(nil, `{"format": 1, "services": [], "contracts": [{
		"name": "x.do", "kind": "command", "owner": "x", "queues": [],
		"route": {"exchange": "commands", "type": "direct", "routing_key": "x.do"},
		"payload": {"type": "object", "properties": {%s}, "required": [%s]}
	}]}`, strings.Join(all, ","), strings.Join(names, ",")))
	require.NoError(tb, err)
	return l
}

// The work grows with the number of fields, and not with its square: a lock file may come from anywhere.
func TestWorkForManyFields(t *testing.T) { //nolint:paralleltest // it counts allocations
	work := func(fields int) float64 {
		old, now := lockOfFields(t, fields, false), lockOfFields(t, fields, true)
		return testing.AllocsPerRun(1, func() {
			found, err := compat.Check(old, now)
			require.NoError(t, err)
			require.Len(t, found, fields)
		})
	}
	require.Less(t, work(80), 3*work(40))
}
