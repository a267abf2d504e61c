package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/shop/shopcli"
)

// TestCommandsExist: every command of leveret in a block of shell is one, its flags are among the command's, and their
// values can be read. Targets of make are in the Makefile.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	targets := read(t, "Makefile")

	for _, wrong := range [][]string{{"no-such"}, {"dlq", "no-such"}, {"send", "order.place", "--no-such"}, {"dlq", "replay", "q", "--limit", "x"}} {
		require.Error(t, wrongWith(t.Context(), wrong), "this test would not notice leveret %s", strings.Join(wrong, " "))
	}

	checked := 0
	block := regexp.MustCompile("(?ms)^[ \t]*```(?:sh|bash|console)\n(.*?)^[ \t]*```")
	for _, page := range pages(t) {
		for _, b := range block.FindAllStringSubmatch(read(t, page), -1) {
			for line := range strings.Lines(strings.ReplaceAll(b[1], "\\\n", " ")) {
				for _, words := range invocations(line) {
					if args, ours := ofLeveret(words); ours {
						require.NoError(t, wrongWith(t.Context(), args), "%s: leveret %s", page, strings.Join(args, " "))
						checked++
					}
					if len(words) > 1 && words[0] == "make" {
						require.Regexp(t, `(?m)^`+regexp.QuoteMeta(words[1])+`:`, targets, "%s: make %s", page, words[1])
					}
				}
			}
		}
	}
	require.Greater(t, checked, 3, "the pages name commands, and this test has to find them")
}

// wrongWith returns what is wrong with the arguments of a command. It asks for the help with everything else as it
// stands on the page: flags are read before the help is shown.
func wrongWith(ctx context.Context, args []string) error {
	var out, errs bytes.Buffer
	code := cli.Run(ctx, cli.Config{ // as cmd/leveret does
		Catalog: shopcli.Catalog, Name: "leveret", Args: append(slices.Clone(args), "--help"), Extra: shopcli.Commands(),
		Streams: &term.Streams{In: strings.NewReader(""), Out: &out, Err: &errs},
	})
	said := out.String()
	if code != cli.ExitOK {
		return fmt.Errorf("exit code %d: %s%s", code, said, &errs)
	}
	if !strings.Contains(said, " COMMAND --help for more about a command") {
		return nil
	}
	// The help is that of the nearest command there is: where that one only has subcommands, a word that is none would go
	// unseen.
	_, usage, _ := strings.Cut(said, "\nUsage:\n")
	known := strings.Fields(usage)[1:]
	for i, arg := range args {
		if strings.HasPrefix(arg, "-") {
			break // the values of flags may follow
		}
		if known[i] != arg {
			return fmt.Errorf("there is no command %s", arg)
		}
	}
	return nil
}

// ofLeveret returns the arguments of a leveret command, by whatever name it is called.
func ofLeveret(words []string) (args []string, ours bool) {
	for _, name := range []string{"go run ./cmd/leveret", "docker compose run --rm cli", "docker compose run --rm -T cli", "leveret"} {
		prefix := strings.Fields(name)
		if len(words) >= len(prefix) && strings.Join(words[:len(prefix)], " ") == name {
			return words[len(prefix):], true
		}
	}
	return nil, false
}

// invocations splits a line of shell into commands, and those into words.
func invocations(line string) [][]string {
	var all [][]string
	var words []string
	end := func() {
		for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
			words = words[1:] // a variable for the command
		}
		if len(words) > 0 {
			all = append(all, words)
		}
		words = nil
	}
	token := regexp.MustCompile(`(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"|;&<>#\\]|[^\s'"|;&<>\\]#)+|[|;&<>#]+`)
	quotes := regexp.MustCompile(`'([^']*)'|"((?:\\.|[^"\\])*)"`)
	file := false
	for _, word := range token.FindAllString(line, -1) {
		switch {
		case strings.HasPrefix(word, "#"):
			end()
			return all
		case strings.ContainsAny(word[:1], "<>"):
			file = true
		case strings.ContainsAny(word[:1], "|;&"):
			end()
		case file:
			file = false
		case word != "$":
			words = append(words, quotes.ReplaceAllString(word, "$1$2"))
		}
	}
	end()
	return all
}
