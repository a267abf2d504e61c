package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Program is a service that can be run: as a process by [Main], as a command of another program by [Program.Command],
// or in a test by [Program.Run].
type Program struct {
	// Service declares what the program sends and serves. Required.
	Service *leveret.Service
	// Name is the binary's name, for help and logs. Defaults to the service's name followed by d: "orderd".
	Name string
	// Version is shown by --version, in logs and in the management UI. Defaults to the version recorded in the build.
	Version string
	// About describes the program in one sentence, for the help.
	About string

	// Keys are the program's own settings, in addition to [config.Keys]. Read them with [Runtime.Decode].
	Keys []config.Key
	// OtherKeys are the settings of other programs that use the same file. They are accepted in the file but have no
	// flags. It may include keys that are also in Keys.
	OtherKeys []config.Key
	// Defaults replaces the defaults of keys, by name: "health.address", for example.
	Defaults map[string]string
	// Overrides takes precedence over flags, environment and file, by name. Use it in a program that runs this one inside
	// itself.
	Overrides map[string]string

	// Client, Handlers and Worker hold what cannot be configured, such as middleware, and the program's own defaults.
	// Values set by a flag, a variable, the file, Defaults or Overrides take precedence.
	Client   leveret.ClientConfig
	Handlers leveret.HandlersConfig
	Worker   leveret.WorkerConfig

	// Outbox says that Setup calls [Runtime.Relay]. The program then has the command "outbox".
	Outbox bool

	// Setup builds the service: it registers handlers with rt.Handlers, and functions with rt.Go. It may block, but must
	// return when ctx ends, which means that the program is shutting down. An error or a panic ends the program. Required.
	//
	// The commands of "projection" and "outbox" call Setup too, while the program runs or not, for what it registers:
	// what it does, such as migrating a database, they do as well. Nothing that it registers is run.
	Setup func(ctx context.Context, rt *Runtime) error
}

// Run runs the program in this process. It parses args (without the binary's name), blocks until ctx ends and
// everything is drained, and returns the exit code. Logs and errors go to stderr, help and version to stdout. Run is
// safe for concurrent use; several programs may run in one process.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := p.Command()
	cmd.SetArgs(append([]string{}, args...)) // nil would mean the process's own arguments
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	var wrong error
	help := cmd.HelpFunc()
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) { // --help with an argument that does not exist arrives here
		if wrong = noArguments(cmd, cmd.Flags().Args()); wrong == nil {
			help(cmd, args)
		}
	})
	err := cmp.Or(cmd.ExecuteContext(ctx), wrong)
	if e, ok := errors.AsType[*exitError](err); err != nil && (!ok || !e.logged) {
		fmt.Fprintf(stderr, "%s: %v\n", cmd.Name(), err)
	}
	return ExitCode(err)
}

// withDefaults fills in defaults.
func (p Program) withDefaults() Program {
	switch {
	case p.Name != "":
	case p.Service != nil:
		p.Name = p.Service.Name() + "d"
	default:
		p.Name = filepath.Base(os.Args[0])
	}
	if p.Version == "" {
		p.Version = buildVersion()
	}
	return p
}

// err checks the program itself.
func (p Program) err() error {
	switch {
	case p.Service == nil:
		return errors.New("service.Program.Service is required: it declares what the program sends and serves")
	case p.Setup == nil:
		return errors.New("service.Program.Setup is required: it registers the handlers")
	}
	return p.Service.Err()
}
