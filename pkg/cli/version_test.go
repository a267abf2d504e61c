package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A program without a version has that of its build.
func TestVersionOfTheBuild(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--version"}, {"version"}} {
		var out, err strings.Builder
		require.Equal(t, ExitOK, Run(t.Context(), Config{
			Catalog: leveret.NewCatalog(), Args: args, Name: "x", Streams: &term.Streams{Out: &out, Err: &err},
		}), err.String())
		require.Regexp(t, `^x version \S+`, out.String())
	}
}
