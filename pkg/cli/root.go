package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/schema"
)

// The help groups of the commands that every program has.
const (
	groupTalk  = "talk"
	groupLook  = "look"
	groupSetup = "setup"
)

// root makes the tree of commands.
func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   a.Name,
		Short: "Send messages through RabbitMQ, and see what becomes of them",
		Long: "Send messages through RabbitMQ, and see what becomes of them.\n\n" +
			"Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 error, 2 usage, 3 partly done,\n" +
			"4 timeout, 5 unroutable or not found, 6 the service answered with an error, 7 broker unreachable or access refused,\n" +
			"8 something breaks (contracts check), 9 unhealthy (status), 130 interrupted.",
		Version:           a.Version,
		Args:              noSuchCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.begin(cmd) },
	}
	root.SetIn(a.IO.In)
	root.SetOut(a.IO.Out)
	root.SetErr(a.IO.Err)
	root.SetFlagErrorFunc(wrongFlag)
	root.SetUsageFunc(writeUsage)
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd.HasAvailableSubCommands() { // --help of a command that does not exist arrives here
			if a.noHelp = cmd.ValidateArgs(cmd.Flags().Args()); a.noHelp != nil {
				return
			}
		}
		help(cmd, args)
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true}) // cobra's own has no group, and ignores a wrong name
	a.globalFlags(root)
	root.Flags().BoolP("version", "v", false, "show the version")
	for _, e := range a.extra {
		if cmd := e(a); cmd != nil {
			a.own = append(a.own, cmd)
			addGroup(root, cmd.GroupID)
		}
	}
	root.AddGroup(
		&cobra.Group{ID: groupTalk, Title: "Send:"},
		&cobra.Group{ID: groupLook, Title: "Inspect:"},
		&cobra.Group{ID: groupSetup, Title: "Set up:"},
	)
	add(root, groupTalk, a.sendCommand(), a.publishCommand(), a.callCommand())
	add(root, groupLook, a.statusCommand(), a.contractsCommand(), a.queuesCommand(), a.retryCommand(), a.dlqCommand(),
		a.outboxCommand(), a.eventsCommand())
	add(root, groupSetup, a.topologyCommand(), a.configCommand(), a.completionCommand(), a.versionCommand(), helpCommand())
	root.AddCommand(a.own...)
	a.settingFlags(root)
	return root
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// addGroup makes the help group of an [Extra]: "run" gets the title "Run:". It comes before the groups of every
// program.
func addGroup(root *cobra.Command, id string) {
	if id != "" && !slices.Contains([]string{groupTalk, groupLook, groupSetup}, id) && !root.ContainsGroup(id) {
		root.AddGroup(&cobra.Group{ID: id, Title: strings.ToUpper(id[:1]) + id[1:] + ":"})
	}
}

func (a *App) globalFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", a.output, "format of the data: `text|json|jsonl`")
	flags.StringVar(&a.color, "color", a.color, "use colour: `auto|always|never`")
	flags.BoolP("help", "h", false, "show help")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json", "jsonl"}, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{term.ColorAuto, term.ColorAlways, term.ColorNever}, cobra.ShellCompDirectiveNoFileComp))
}

// begin checks the global flags before a command runs.
func (a *App) begin(cmd *cobra.Command) error {
	if !slices.Contains([]Format{FormatText, FormatJSON, FormatJSONL}, a.Format()) {
		wrong := a.output
		a.output = string(FormatText)
		return usage("", "--output is %q; it must be text, json or jsonl", wrong)
	}
	if !slices.Contains([]string{term.ColorAuto, term.ColorAlways, term.ColorNever}, a.color) {
		return usage("", "--color is %q; it must be auto, always or never", a.color)
	}
	a.paint()
	if cmd.Annotations[needsNothing] == "" {
		if err := a.load(cmd); err != nil {
			return err
		}
		if a.loaded.Config().Broker.TLS.Insecure {
			a.Warn("broker.tls.insecure is set: any certificate is accepted, so an impostor could read the password")
		}
	}
	for at := cmd; at != nil; at = at.Parent() {
		a.patient = a.patient || slices.Contains(a.own, at)
	}
	a.started.Store(true)
	return nil
}

// needsNothing marks a command that needs no configuration, and so runs with an invalid one.
const needsNothing = "needs-nothing"

// NeedsNothing marks a command that needs no configuration, and so runs with an invalid one.
func NeedsNothing(cmd *cobra.Command) {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string, 1)
	}
	cmd.Annotations[needsNothing] = "true"
}

// group makes a command that only has subcommands.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// noSuchCommand refuses arguments of a command that only has subcommands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usage(cmd.CommandPath()+" --help", "%s has no command %q%s", cmd.CommandPath(), args[0], schema.DidYouMean(args[0], names))
}

// wrongFlag is the error of a flag that does not exist, or whose value is invalid.
func wrongFlag(cmd *cobra.Command, err error) error {
	next := cmd.CommandPath() + " --help"
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return usage(next, "%w", err)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := schema.Nearest(unknown.GetSpecifiedName(), names); near != "" {
		return usage(next, "%w; did you mean --%s?", err, near)
	}
	return usage(next, "%w", err)
}

// Arguments checks the number of arguments; its errors show the usage of the command. A negative most allows any
// number.
func Arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usage(cmd.CommandPath()+" --help", "too few arguments; usage: %s", cmd.UseLine())
		}
		if most == 0 && len(args) > 0 {
			return usage(cmd.CommandPath()+" --help", "%s takes no arguments, but got %q", cmd.CommandPath(), args[0])
		}
		if most > 0 && len(args) > most && strings.Contains(cmd.Use, "PAYLOAD") { // a part of which may be a secret
			return usage(cmd.CommandPath()+" --help", "too many arguments; usage: %s. Quote a payload with single quotes, so that it is one argument", cmd.UseLine())
		}
		if most > 0 && len(args) > most {
			return usage(cmd.CommandPath()+" --help", "too many arguments (%q); usage: %s", args[most], cmd.UseLine())
		}
		return nil
	}
}
