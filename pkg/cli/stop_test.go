package cli_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
)

func TestACommandWhoseOutputIsStuckStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader, stuck := io.Pipe() // which nobody reads
		ctx, ctrlC := context.WithCancel(t.Context())
		c := &command{args: []string{"contracts"}, stdout: stuck}
		ended := make(chan cli.ExitCode, 1)
		go func() { ended <- c.run(ctx) }()
		synctest.Wait()
		require.Empty(t, ended)
		ctrlC()
		require.Equal(t, cli.ExitInterrupted, <-ended)
		require.Equal(t, "error: interrupted: the command did not stop within 2m0s\n", c.err.String())
		require.NoError(t, reader.Close())
	})
}

func TestACommandOfTheProgramsOwnTakesItsTimeToStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var err output
		slow := func(*cli.App) *cobra.Command {
			return &cobra.Command{Use: "slow", RunE: func(cmd *cobra.Command, _ []string) error {
				<-cmd.Context().Done()
				time.Sleep(time.Minute) // of the bubble
				return cli.Fail(cli.ExitPartial, "", "%w", cmd.Context().Err())
			}}
		}
		ctx, ctrlC := context.WithCancel(t.Context())
		ctrlC()
		code := cli.Run(ctx, cli.Config{
			Catalog: catalog, Args: []string{"slow"}, Extra: []cli.Extra{slow}, Streams: &term.Streams{Out: io.Discard, Err: &err},
		})
		require.Equal(t, cli.ExitPartial, code)
	})
}
