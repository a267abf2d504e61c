package programs_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
)

// The commands in docs/rest.md work when they are pasted one after the other.
func TestRESTPage(t *testing.T) {
	t.Parallel()
	for _, needed := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skip(err)
		}
	}
	page, err := os.ReadFile("../../../docs/rest.md")
	require.NoError(t, err)
	script := "set -eu\ncurl() { command curl --fail-with-body --retry 10 \"$@\"; echo; }\n"
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if !strings.HasPrefix(block[1], "leveret") {
			script += block[1]
		}
	}
	s := run(t, leverettest.Broker(t), map[string]string{
		"payment.delay": "1m", "worker.drain_timeout": "10s", // so that the order can be cancelled, however late, and nobody waits for it
	})
	shell := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(script, "http://localhost:8080", s.gateway))
	out, err := shell.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, says := range []string{`"name":"Ada"`, `"state":"`, `"orders":[`, `"state":"cancelled","reason":"requested"`} {
		require.Contains(t, string(out), says)
	}
}
