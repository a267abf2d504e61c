package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

// TestSnippetsAreCompiledCode: every block of Go in these pages stands, line by line, in a file that is compiled and
// tested. Indentation and empty lines do not count.
func TestSnippetsAreCompiledCode(t *testing.T) {
	t.Parallel()
	var code []string
	for _, pattern := range []string{
		"*_test.go", "../examples/hello/*.go", "../examples/hello/cmd/*/*.go", "../examples/desk/*.go", "../examples/orders/*.go", "../pkg/leveret/example*_test.go",
		"../pkg/protobuf/example_test.go", "../examples/foreign/*_test.go", "../pkg/outbox/example_test.go", "../pkg/stream/example_test.go",
	} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			code = append(code, lines(string(text)))
		}
	}
	block := regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	for _, page := range []string{"guide.md", "migrate-from-amqp091.md", "projections.md", "scale.md"} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			blocks := block.FindAllStringSubmatch(string(text), -1)
			require.NotEmpty(t, blocks)
			for _, b := range blocks {
				require.True(t, containedIn(code, lines(b[1])), "stands in no compiled file:\n%s", b[1])
			}
		})
	}
}

func containedIn(code []string, snippet string) bool {
	for _, c := range code {
		if strings.Contains(c, snippet) {
			return true
		}
	}
	return false
}

// lines is the text without indentation and empty lines; each line stands between two line ends.
func lines(text string) string {
	var b strings.Builder
	b.WriteString("\n")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
