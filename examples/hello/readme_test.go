package hello_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leverettest"

	"github.com/leveretmq/leveret/examples/hello"
)

// step is a command of the command line, with the lines that it should print. In these, … stands for anything.
type step struct {
	args  []string
	lines []*regexp.Regexp
}

// TestReadme runs the commands shown in README.md and compares their output.
func TestReadme(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	start(t, url)
	steps := steps(t)
	require.Len(t, steps, 7)
	for _, s := range steps {
		if s.args[0] == "send" {
			printed := run(t, url, s.args)
			require.True(t, s.shownIn(printed), "%q printed %s", s.args, printed)
			continue
		}
		// It takes a while until a message has been handled.
		require.Eventually(t, func() bool { return s.shownIn(run(t, url, s.args)) }, 30*time.Second, 50*time.Millisecond,
			"%q does not print what README.md shows", s.args)
	}
}

func (s step) shownIn(printed string) bool {
	for _, line := range s.lines {
		if !line.MatchString(printed) {
			return false
		}
	}
	return true
}

func steps(t *testing.T) []step {
	t.Helper()
	file, err := os.ReadFile("README.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```console\n(.*?)```").FindSubmatch(file)
	require.NotNil(t, block)
	var all []step
	for line := range strings.Lines(string(block[1])) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "$ go run ./cmd/hello "); ok {
			args := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(command, -1)
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			all = append(all, step{args: args})
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
		last := &all[len(all)-1]
		last.lines = append(last.lines, regexp.MustCompile("(?m)^"+pattern+" *$"))
	}
	return all
}

// run runs the command line in this process and returns its output.
func run(t *testing.T, url string, args []string) string {
	t.Helper()
	var printed bytes.Buffer
	cli.Run(t.Context(), cli.Config{
		Catalog: hello.Catalog, Name: "hello", Args: append([]string{"--broker-url", url}, args...),
		Streams: &term.Streams{In: strings.NewReader(""), Out: &printed, Err: &printed},
	})
	return printed.String()
}
