package cli

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAFileThatCannotBeWrittenIsNamed: not the temporary file beside it.
func TestAFileThatCannotBeWrittenIsNamed(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "gone", "contracts.lock.json")
	require.EqualError(t, replaceFile(name, nil), name+" cannot be written: no such file or directory")
}
