package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *App) dlqRemoveCommand() *cobra.Command {
	o := dlqReplayOptions{remove: true}
	cmd := &cobra.Command{
		Use:     "rm QUEUE [ID...]",
		Aliases: []string{"remove"},
		Short:   "Remove dead letters for good",
		Long: "Remove dead letters for good: those with the given ids, those that match --where, or --all. ID is what `dlq show` lists.\n\n" +
			"Removed messages cannot be brought back: `dlq show -o jsonl` keeps a copy.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq rm %[2]s 0197f3a2-5c1e-7d2b-9c57-3f0a4e6d8b11\n"+
			"  %[1]s dlq rm %[2]s --where 'age > duration(\"720h\")' --dry-run", a.Name, a.someQueue()),
		Args: Arguments(1, 1000), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.queue, o.ids = args[0], args[1:]
			if len(o.ids) == 0 && o.where == "" && !o.all {
				return usage(cmd.CommandPath()+" --help", "say which dead letters to remove: by ID, with --where, or --all")
			}
			return a.replay(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.where, "where", "", "remove only dead letters that match this `expression`")
	f.BoolVar(&o.all, "all", false, "remove all dead letters of the queue")
	f.IntVar(&o.limit, "limit", 0, "remove at most this many (default: no limit)")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be removed, without removing it")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}
