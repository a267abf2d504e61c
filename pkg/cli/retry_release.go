package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *App) retryReleaseCommand() *cobra.Command {
	var o moveOptions
	cmd := &cobra.Command{
		Use:   "release [QUEUE]",
		Short: "Return what waits for a retry to its queue now",
		Long: "Return what waits for a retry to its queue now, from all retry tiers: after a dependency was down, for example. It is the\n" +
			"retry that was due later, with the same attempt. What fails again waits again, and is not released a second time.\n\n" +
			"Nothing is lost, however this ends: a message waits until the broker has confirmed that it is in its queue. A release that\n" +
			"is killed in between may leave a message in both, which then arrives twice under its id. Where a queue is gone, its\n" +
			"messages stay where they are. What is not released goes back when its time is up, as before.\n\n" + a.retryWhereHelp(),
		Example: fmt.Sprintf("  %[1]s retry release --dry-run\n  %[1]s retry release %[2]s --where 'code == \"unavailable\"' --rate 50/s --yes", a.Name, a.someQueue()),
		Args:    Arguments(0, 1), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			queue := ""
			if len(args) > 0 {
				queue = args[0]
			}
			return a.release(cmd.Context(), queue, o)
		},
	}
	o.flags(cmd, "release", "messages")
	o.paced(cmd, "release")
	return cmd
}

func (a *App) release(ctx context.Context, queue string, o moveOptions) error {
	pace, err := o.check()
	if err != nil {
		return err
	}
	found, end, err := a.failures(ctx, "retry release", queue, o.where, true)
	if err != nil {
		return err
	}
	defer end()
	return newMoving(found, o, pace).run(ctx)
}
