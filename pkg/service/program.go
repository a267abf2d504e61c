package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Program is one service as something to run: its own process by [Main], a command of another program by
// [Program.Command], or part of a test by [Program.Run].
type Program struct {
	// Service says what the program sends and serves. Required.
	Service *leveret.Service
	// Name is the binary's name, for help and logs. Default: the service's name with a d behind it.
	Name string
	// Version is shown by --version, in logs and in the management UI. Default: what the build knows of itself.
	Version string
	// About is one sentence for the help.
	About string

	// Keys are the program's own settings, beside [config.Keys]. Read them with [Runtime.Decode].
	Keys []config.Key
	// Shared are the settings of other programs that read the same file. They are known, so that they are no mistakes
	// there, and have no flags here. Those that Keys has too are passed over.
	Shared []config.Key
	// Defaults replace the defaults of keys, by name: "health.address" for instance.
	Defaults map[string]string
	// Overrides win over flags, environment and file, by name: for a program that runs this one inside itself.
	Overrides map[string]string

	// Client, Handlers and Worker are what configuration does not set: middleware, for instance, and the program's own
	// defaults. What a flag, a variable, the file, Defaults or Overrides set, wins.
	Client   leveret.ClientConfig
	Handlers leveret.HandlersConfig
	Worker   leveret.WorkerConfig

	// Setup builds the service: handlers in rt.Handlers, and whatever rt.Go runs. It may block, and should end when ctx does:
	// ctx ends when the program is told to. An error ends the program, and so does a panic. Required.
	Setup func(ctx context.Context, rt *Runtime) error
}

// Run is the program without the process: it reads args (without the binary's name), runs until ctx ends and all is
// drained, and returns the exit code. It writes logs and errors to stderr, and what was asked for (help, version) to
// stdout. Safe for concurrent use, several programs to a process.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := p.Command()
	cmd.SetArgs(append([]string{}, args...)) // nil would be the process's own
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if e, ok := errors.AsType[*exitError](err); err != nil && (!ok || !e.logged) {
		fmt.Fprintf(stderr, "%s: %v\n", cmd.Name(), err)
	}
	return ExitCode(err)
}

// withDefaults fills in what the program left out.
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

// err returns what is wrong with the program itself.
func (p Program) err() error {
	switch {
	case p.Service == nil:
		return errors.New("service.Program has no Service: it says what the program sends and serves")
	case p.Setup == nil:
		return errors.New("service.Program has no Setup: it registers the handlers")
	}
	return p.Service.Err()
}
