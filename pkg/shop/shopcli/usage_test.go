package shopcli_test

import (
	"bytes"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/shop/shopcli"
	"github.com/leveretmq/leveret/queues"
)

// leveret runs the command line.
func leveret(t *testing.T, args ...string) (code cli.ExitCode, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Run(t.Context(), cli.Config{
		Catalog: queues.Catalog, Name: "leveret", Args: args, Extra: shopcli.Commands(),
		Streams: &term.Streams{In: bytes.NewReader(nil), Out: &stdout, Err: &stderr},
	})
	return code, stdout.String(), stderr.String()
}

// listed is a command in the help of the command that it belongs to.
var listed = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) {2,}\S`)

// group is in the help of a command that has commands.
var group = regexp.MustCompile(`(?m)^  leveret[a-z -]* COMMAND$`)

// tree returns the command and all below it, as the help lists them.
func tree(t *testing.T, path ...string) (all [][]string) {
	t.Helper()
	code, help, errs := leveret(t, append(slices.Clone(path), "--help")...)
	require.Equal(t, cli.ExitOK, code, errs)
	all = append(all, path)
	if !group.MatchString(help) {
		return all
	}
	_, lists, _ := strings.Cut(help, "\nUsage:\n")
	lists, _, _ = strings.Cut(lists, "\nFlags:")
	for _, match := range listed.FindAllStringSubmatch(lists, -1) {
		all = append(all, tree(t, append(slices.Clone(path), match[1])...)...)
	}
	return all
}

// The same mistake has the same exit code in every command.
func TestWrongUsageOfEveryCommand(t *testing.T) {
	t.Parallel()
	all := tree(t)
	for _, known := range []string{"send", "dlq replay", "dev certs", "contracts check", "retry release", "config show"} {
		require.True(t, slices.ContainsFunc(all, func(path []string) bool { return strings.Join(path, " ") == known }), "%s is not in %q", known, all)
	}
	for _, path := range all {
		code, out, errs := leveret(t, append(slices.Clone(path), "--no-such-flag")...)
		require.Equal(t, cli.ExitUsage, code, "%q: %s", path, errs)
		require.Empty(t, out, path)
		require.Contains(t, errs, "error: unknown flag: --no-such-flag", path)
	}
}

func TestWrongValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	none := filepath.Join(dir, "none", "file")
	for _, args := range [][]string{
		{"dev", "certs"},
		{"dev", "certs", ""},
		{"dev", "certs", dir, dir},
		{"dev", "certs", dir, "--service", "A_B"},
		{"dev", "certs", dir, "--service", "ca"},
		{"dev", "certs", dir, "--host", "a_b"},
		{"dev", "certs", "/dev/null/certs"},
		{"demo", "--orders", "0"},
		{"demo", "extra"},
		{"demo", "--transport", "pigeon"},
		{"serve", "nobody"},
		{"send"},
		{"send", "order.place", "-f", none},
		{"send", "order.place", "-f", dir},
		{"send", "order.place", "{"},
		{"send", "order.place", "{}"},
		{"call", "order.show", "-f", none},
		{"call", "order.show", "{}", "--timeout", "-1s"},
		{"queues", "--watch=soon"},
		{"queues", "show"},
		{"dlq", "show"},
		{"dlq", "replay"},
		{"dlq", "replay", "order.place", "--where", "nonsense"},
		{"dlq", "rm", "order.place"},
		{"contracts", "lock", "-f", none},
		{"completion", "nosh"},
		{"status", "--config", none},
		{"status", "--config", dir},
		{"status", "-o", "yaml"},
		{"status", "--color", "blue"},
		{"help", "nonsense"},
		{"nonsense", "--help"},
		{"dlq", "nonsense", "--help"},
	} {
		code, out, errs := leveret(t, args...)
		require.Equal(t, cli.ExitUsage, code, "%q: %s", args, errs)
		require.Empty(t, out, args)
		require.Contains(t, errs, "error: ", args)
	}
}
