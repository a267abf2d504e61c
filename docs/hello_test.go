package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/topology"
)

// TestHelloCanBeCopied follows the recipe of examples/hello's README, line by line, outside of this repository. It takes
// this checkout, as the README's second block has it, instead of the latest release; and of the tests it leaves out those
// that start a broker.
func TestHelloCanBeCopied(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	page, err := os.ReadFile("../examples/hello/README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## Start from it\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(section, -1)
	require.Len(t, blocks, 2, "the recipe, and its variant with the checkout")

	copied := filepath.Join(t.TempDir(), "greetings")
	script := blocks[0][1]
	for from, to := range map[string]string{
		"../greetings": quoted(copied),
		"go get github.com/leveretmq/leveret@latest\n": strings.ReplaceAll(blocks[1][1], "../leveret", quoted(root)),
		"go test ./...\n": "go vet ./...\ngo test -skip 'TestReadme|TestProgram|TestASecondServiceSubscribes' ./...\n",
	} {
		require.Contains(t, script, from)
		script = strings.ReplaceAll(script, from, to)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euxc", script)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=off")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "ok  \texample.com/greetings")

	var left []string
	require.NoError(t, filepath.WalkDir(copied, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "README.md" || strings.HasSuffix(path, ".pb.go") {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // a folder of this test
		if strings.Contains(string(text), "leveret/examples/hello") || strings.HasSuffix(path, ".old") {
			left = append(left, path)
		}
		return err
	}))
	require.Empty(t, left, "these still name the example's path")
}

// quoted is a text as one word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// TestGuideNamesTheQueueOfASubscriber: the queue of the guide's second service has the name that it gets.
func TestGuideNamesTheQueueOfASubscriber(t *testing.T) {
	t.Parallel()
	require.Contains(t, read(t, "docs/guide.md"), "`"+topology.Names{}.SubscriptionQueue("postcards", "", "hello.greeted")+"`")
}
