package hello_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestThreeTransportsIn15Lines counts the lines by which a request that is served over RabbitMQ is served over HTTP and
// gRPC as well: those that end with the mark, and those between two marks without blank lines and comments.
func TestThreeTransportsIn15Lines(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var counted []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		within := false
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			switch {
			case line == "// three transports: begin":
				within = true
			case line == "// three transports: end":
				within = false
			case strings.HasSuffix(line, " // three transports"), within && line != "" && !strings.HasPrefix(line, "//"):
				counted = append(counted, line)
			}
		}
		require.False(t, within, "%s has a begin without an end", file)
	}
	require.Contains(t, counted, "rt.ServeGRPC(overGRPC)")
	require.LessOrEqual(t, len(counted), 15, "%s", strings.Join(counted, "\n"))
	t.Logf("%d lines", len(counted))
}
