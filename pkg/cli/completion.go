package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *App) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a shell script that completes commands, contracts and queues",
		Long: fmt.Sprintf(`Print a shell script that completes commands, contracts and queues. Load it in your shell:

  bash         source <(%[1]s completion bash)       # in ~/.bashrc; needs the package bash-completion
  zsh          source <(%[1]s completion zsh)        # in ~/.zshrc, after compinit
  fish         %[1]s completion fish | source        # in ~/.config/fish/config.fish
  powershell   %[1]s completion powershell | Out-String | Invoke-Expression`, a.Name),
		Args:                  Arguments(1, 1),
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{needsNothing: "true"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), a.IO.Out
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			default:
				return usage(cmd.CommandPath()+" --help", "there is no completion for the shell %q, only for %s", args[0], list(shells))
			}
		},
	}
}

// plainUsages removes the quotes that mark the name of a flag's value in its usage, for shells that show the usage.
func plainUsages(cmd *cobra.Command) {
	plain := func(f *pflag.Flag) { _, f.Usage = pflag.UnquoteUsage(f) }
	cmd.Flags().VisitAll(plain)
	cmd.PersistentFlags().VisitAll(plain)
	for _, c := range cmd.Commands() {
		plainUsages(c)
	}
}
