package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *App) dlqReplayCommand() *cobra.Command {
	var o moveOptions
	cmd := &cobra.Command{
		Use:   "replay QUEUE [ID...]",
		Short: "Return dead letters to the queue where they failed",
		Long: "Return dead letters to the queue where they failed: all, those with the given ids, or those that match --where. Other\n" +
			"subscribers to an event, which did not fail, do not get them again. ID is what `dlq show` lists.\n\n" +
			"Nothing is lost, however a replay ends: a message stays a dead letter until the broker has confirmed that it is in its\n" +
			"queue. A replay that is killed in between may leave a message in both, and the next one then delivers it again. Messages\n" +
			"that fail again during a replay are not replayed a second time.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq replay %[2]s --dry-run\n  %[1]s dlq replay %[2]s --where 'code == \"unavailable\"' --rate 50/s --yes", a.Name, a.someQueue()),
		Args:    Arguments(1, 1000), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.moveLetters(cmd.Context(), "dlq replay", args[0], args[1:], o)
		},
	}
	o.flags(cmd, "replay", "dead letters")
	o.paced(cmd, "replay")
	return cmd
}

// moveLetters replays dead letters, or removes them: all that are selected, or those with these ids.
func (a *App) moveLetters(ctx context.Context, command, queue string, ids []string, o moveOptions) error {
	pace, err := o.check()
	if err != nil {
		return err
	}
	found, end, err := a.failures(ctx, command, queue, o.where, false)
	if err != nil {
		return err
	}
	defer end()
	m := newMoving(found, o, pace)
	if len(ids) > 0 {
		if err := m.name(ctx, ids); err != nil {
			return err
		}
	}
	return m.run(ctx)
}
