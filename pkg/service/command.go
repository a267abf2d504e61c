package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Command returns the program as a command, to be mounted under another command. It has the subcommands healthcheck and, if
// the service reads kept events, projection; with Program.Outbox, it has outbox.
// To get the exit code for the error that it returns, use [ExitCode].
func (p Program) Command() *cobra.Command {
	p = p.withDefaults()
	schema := p.schema()
	cmd := &cobra.Command{
		Use:               p.Name,
		Short:             p.short(),
		Long:              p.long(),
		Version:           p.Version,
		Args:              noArguments,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := p.load(schema, cmd.Flags())
			if err != nil {
				return err
			}
			return p.live(cmd.Context(), loaded, cmd.ErrOrStderr())
		},
	}
	p.addFlags(schema, cmd.PersistentFlags(), p.sections()...)
	cmd.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	cmd.SetFlagErrorFunc(wrongFlag)
	cmd.SetUsageFunc(usage)
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.AddCommand(p.healthcheckCommand(schema))
	if p.Service != nil && len(p.Service.Contracts(leveret.RoleReads)) > 0 {
		cmd.AddCommand(p.projectionCommand(schema))
	}
	if p.Outbox {
		cmd.AddCommand(p.outboxCommand(schema))
	}
	return cmd
}

func (p Program) short() string {
	if p.About != "" {
		return p.About
	}
	if p.Service != nil {
		return "Runs the service " + p.Service.Name() + "."
	}
	return ""
}

func (p Program) long() string {
	return strings.TrimSpace(p.short() + `

It runs until SIGTERM or SIGINT, then lets its handlers finish and exits. A second signal ends it at once.

Every setting can be given as a flag, as an environment variable (LEVERET_BROKER_URL for --broker-url), or in a file. A
flag takes precedence over a variable, and a variable over the file. Secrets have no flag: set LEVERET_BROKER_PASSWORD, or
LEVERET_BROKER_PASSWORD_FILE to the name of a file containing the password.

Exit codes: 0 shut down gracefully, 1 error, 2 wrong usage or configuration, 7 broker unreachable or access refused, 130
second signal.`)
}

// schema returns the table of the keys that the program knows.
func (p Program) schema() *config.Schema {
	others := slices.DeleteFunc(slices.Clone(p.OtherKeys), func(k config.Key) bool {
		return slices.ContainsFunc(p.Keys, func(own config.Key) bool { return own.Name == k.Name })
	})
	return config.New(slices.Concat(p.Keys, others)...)
}

// sections returns the sections whose keys have flags. None means all sections.
func (p Program) sections() []string {
	if len(p.OtherKeys) == 0 {
		return nil
	}
	var sections []string
	for _, k := range slices.Concat(config.Keys(), p.Keys) {
		section, _, _ := strings.Cut(k.Name, ".")
		if !slices.Contains(sections, section) {
			sections = append(sections, section)
		}
	}
	return sections
}

// addFlags defines the flags of some sections, showing the program's own defaults.
func (p Program) addFlags(schema *config.Schema, flags *pflag.FlagSet, sections ...string) {
	schema.AddFlags(flags, sections...)
	for _, k := range schema.Keys() {
		own, ok := p.Defaults[k.Name]
		if f := flags.Lookup(k.FlagName()); ok && f != nil {
			f.DefValue = own
		}
	}
}

// load reads the configuration.
func (p Program) load(schema *config.Schema, flags *pflag.FlagSet) (*config.Loaded, error) {
	if err := p.err(); err != nil {
		return nil, err
	}
	if err := schema.Err(); err != nil {
		return nil, fmt.Errorf("the program's table of settings is invalid: %w", err)
	}
	loaded, err := schema.Load(flags, config.Options{Defaults: p.Defaults, Overrides: p.Overrides})
	if err != nil {
		return nil, exit(exitUsage, "the configuration is wrong:\n%w", err)
	}
	return loaded, nil
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return exit(exitUsage, "unknown argument %q%s; see %s --help", args[0], didYouMean("", args[0], names), cmd.CommandPath())
}

// wrongFlag is the error of a flag that does not exist, or whose value is invalid.
func wrongFlag(cmd *cobra.Command, err error) error {
	near := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		near = didYouMean("--", unknown.GetSpecifiedName(), names)
	}
	return exit(exitUsage, "%w%s; see %s --help", err, near, cmd.CommandPath())
}

// didYouMean returns " (did you mean --help?)" for the middle of an error, or nothing if no name is similar.
func didYouMean(before, typed string, names []string) string {
	all := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range names {
		all.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	similar := all.SuggestionsFor(typed)
	if len(similar) == 0 {
		return ""
	}
	return " (did you mean " + before + similar[0] + "?)"
}
