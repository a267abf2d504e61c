package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Where many contracts use a type that has changed, the advice is printed once; JSON has every finding of its own.
func TestContractsCheckPutsTheSameTogether(t *testing.T) {
	t.Parallel()
	type order struct {
		ID uuid.UUID `json:"id"`
	}
	catalog := leveret.NewCatalog(leveret.NewService("x", leveret.Handles(
		leveret.NewCommand[order]("x.cook"), leveret.NewCommand[order]("x.plate"), leveret.NewCommand[order]("x.serve"),
	)))
	run := func(in string, args ...string) (string, cli.ExitCode) {
		var out, errs bytes.Buffer
		exit := cli.Run(t.Context(), cli.Config{
			Catalog: catalog, Name: "kitchen", Args: args, Streams: &term.Streams{In: strings.NewReader(in), Out: &out, Err: &errs, Env: func(string) string { return "" }},
		})
		return out.String(), exit
	}
	lock, exit := run("", "contracts", "lock", "-f", "-")
	require.Equal(t, cli.ExitOK, exit, lock)
	before := strings.ReplaceAll(lock, `"format": "uuid"`, `"format": "email"`)
	require.NotEqual(t, lock, before)

	text, exit := run(before, "contracts", "check", "-f", "-")
	require.Equal(t, cli.ExitDrift, exit, text)
	require.Equal(t, 1, strings.Count(text, "accept the old values too"), text)
	require.Contains(t, text, "also     x.plate payload id\n                  x.serve payload id\n")
	require.Contains(t, text, "  x.cook   ")
	require.Contains(t, text, "  x.serve  ")

	all, exit := run(before, "contracts", "check", "-f", "-", "-o", "jsonl")
	require.Equal(t, cli.ExitDrift, exit)
	for _, name := range []string{"x.cook", "x.plate", "x.serve"} {
		require.Contains(t, all, `"contract":"`+name+`"`)
	}
}
