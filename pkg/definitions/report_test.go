package definitions_test

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files, and the block of docs/operations.md, instead of comparing with them")

// golden compares a text with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test ./pkg/definitions -update writes it")
	require.Equal(t, string(want), got)
}

func (tr *trial) report() string { return "" }
