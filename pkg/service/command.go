package service

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leveretmq/leveret/config"
)

// Command returns the program as a command to mount under another one; its subcommand healthcheck comes with it. Its error
// tells the exit code: see [ExitCode].
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
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit(exitUsage, "%w; see %s --help", err, cmd.CommandPath())
	})
	cmd.SetUsageFunc(usage)
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.AddCommand(p.healthcheckCommand(schema))
	return cmd
}

func (p Program) short() string {
	if p.About != "" {
		return p.About
	}
	if p.Service != nil {
		return "The service " + p.Service.Name() + "."
	}
	return ""
}

func (p Program) long() string {
	return strings.TrimSpace(p.short() + `

It runs until SIGTERM or SIGINT, then lets its handlers finish, and ends; a second signal ends it at once.

Each setting is a flag, a variable (--broker-url is LEVERET_BROKER_URL), and a line in a file; a flag wins over a variable,
a variable over the file. Secrets have no flag: LEVERET_BROKER_PASSWORD, or LEVERET_BROKER_PASSWORD_FILE for a file that
holds it.

Exit codes: 0 drained in order, 1 an error, 2 wrong usage or configuration, 7 broker unreachable or access refused, 130 the
second signal.`)
}

// schema is the table of keys that the program knows.
func (p Program) schema() *config.Schema {
	shared := slices.DeleteFunc(slices.Clone(p.Shared), func(k config.Key) bool {
		return slices.ContainsFunc(p.Keys, func(own config.Key) bool { return own.Name == k.Name })
	})
	return config.New(slices.Concat(p.Keys, shared)...)
}

// sections are those of the keys that have flags here; none means all.
func (p Program) sections() []string {
	if len(p.Shared) == 0 {
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

// addFlags defines the flags of some sections, and shows the program's own defaults with them.
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
		return nil, fmt.Errorf("the program's table of settings is wrong: %w", err)
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
	return exit(exitUsage, "%q is neither a flag nor a command; see %s --help", args[0], cmd.CommandPath())
}
