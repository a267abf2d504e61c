package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpCommand makes `help COMMAND`, which is COMMAND --help.
func helpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if about, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, c := range about.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return noSuchCommand(about, rest)
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
	NeedsNothing(cmd)
	return cmd
}

// writeUsage writes how to use a command, below its description in help.
func writeUsage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() && !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		if cmd.HasParent() && cmd.Annotations[runsAlone] != "" {
			fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
		}
		fmt.Fprintf(&b, "  %s COMMAND\n", cmd.CommandPath())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAliases:\n  %s\n", strings.Join(cmd.Aliases, ", "))
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	writeCommands(&b, cmd)
	writeFlags(&b, "Flags:", cmd.LocalFlags())
	writeFlags(&b, "Global flags:", cmd.InheritedFlags())
	fmt.Fprintf(&b, "\nAll settings of the broker, the client and the log have flags too: %s config show --origin lists them.\n", cmd.Root().Name())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "Run %s COMMAND --help for more about a command.\n", cmd.CommandPath())
	}
	_, err := cmd.OutOrStderr().Write([]byte(b.String()))
	return err
}

// runsAlone marks a command that has subcommands and also runs by itself.
const runsAlone = "runs-alone"

// RunsAlone marks a command that has subcommands and also runs by itself, so that its help shows both.
func RunsAlone(cmd *cobra.Command) {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string, 1)
	}
	cmd.Annotations[runsAlone] = "true"
}

// writeCommands lists the subcommands by group.
func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	width := 0
	byGroup := map[string][]*cobra.Command{}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			width = max(width, len(c.Name()))
			byGroup[c.GroupID] = append(byGroup[c.GroupID], c)
		}
	}
	groups := append(cmd.Groups(), &cobra.Group{Title: "Commands:"})
	for _, g := range groups {
		if len(byGroup[g.ID]) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n%s\n", g.Title)
		for _, c := range byGroup[g.ID] {
			fmt.Fprintf(b, "  %-*s  %s\n", width, c.Name(), c.Short)
		}
	}
}

func writeFlags(b *strings.Builder, title string, flags *pflag.FlagSet) {
	type line struct{ flag, usage string }
	var lines []line
	width := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		l := line{flag: "      --" + f.Name, usage: usage}
		if f.Shorthand != "" {
			l.flag = "  -" + f.Shorthand + ", --" + f.Name
		}
		switch {
		case f.Value.Type() == "bool":
		case f.NoOptDefVal != "":
			l.flag += "[=" + name + "]"
		default:
			l.flag += " " + name
		}
		switch f.DefValue {
		case "", "0", "0s", "false", "[]":
		default:
			l.usage += " (default " + f.DefValue + ")"
		}
		width = max(width, utf8.RuneCountInString(l.flag))
		lines = append(lines, l)
	})
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, l := range lines {
		fmt.Fprintf(b, "%-*s   %s\n", width, l.flag, strings.Join(wrap(l.usage, helpWidth-width-3), "\n"+strings.Repeat(" ", width+3)))
	}
}

// helpWidth is how wide help is, in characters.
const helpWidth = 120

// wrap breaks a text into lines of at most width characters, at spaces.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		line := &lines[len(lines)-1]
		switch {
		case *line == "":
			*line = word
		case utf8.RuneCountInString(*line)+1+utf8.RuneCountInString(word) <= width:
			*line += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
