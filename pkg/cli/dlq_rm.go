package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *App) dlqRemoveCommand() *cobra.Command {
	o, all := moveOptions{remove: true}, false
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
			if len(args) == 1 && o.where == "" && !all {
				return usage(cmd.CommandPath()+" --help", "say which dead letters to remove: by ID, with --where, or --all")
			}
			return a.moveLetters(cmd.Context(), "dlq rm", args[0], args[1:], o)
		},
	}
	o.flags(cmd, "remove", "dead letters")
	cmd.Flags().BoolVar(&all, "all", false, "remove all dead letters of the queue")
	return cmd
}
