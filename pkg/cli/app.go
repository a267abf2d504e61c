package cli

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// An App is one run of a command line: what its commands share.
type App struct {
	// Name is the binary's name, as help and hints show it.
	Name    string
	Version string
	Catalog *leveret.Catalog
	IO      *term.Streams

	extra  []Extra
	output string
	color  string

	out, err term.Style
	started  bool // a command has begun: what fails now is no mistake of its flags
	noHelp   error // --help was asked of a command that does not exist
	status   *term.Status
	settings settings

	keys      []config.Key
	moreFlags []func()
	schema    *config.Schema
	loaded    *config.Loaded
}

// An Extra makes a further command. Its RunE returns errors as those of the package do: see [Fail]. Help lists it in the
// group that its GroupID names: "talk", "look" or "setup", which are there, or another, which is made: "run" is "Run:".
type Extra func(*App) *cobra.Command

// Config says what to run. Args and Catalog are needed; the rest has defaults.
type Config struct {
	Catalog *leveret.Catalog
	// Args are the arguments without the program's name.
	Args []string
	// Name is the binary's name. Default: that of the running program.
	Name string
	// Version is shown by --version and in the management UI. Default: what the build knows of itself.
	Version string
	// Streams default to those of the process.
	Streams *term.Streams
	Extra   []Extra
}

// Main runs the command line of the process on a catalog and returns its exit code. It ends when the command does, or
// soon after ctx: then with 130.
func Main(ctx context.Context, catalog *leveret.Catalog, extra ...Extra) int {
	return int(Run(ctx, Config{Catalog: catalog, Args: os.Args[1:], Extra: extra}))
}

// Run runs one command line and returns its exit code. An error has been written to the streams by then.
func Run(ctx context.Context, c Config) ExitCode {
	a := &App{
		Name: c.Name, Version: c.Version, Catalog: c.Catalog, IO: c.Streams, extra: c.Extra,
		output: string(FormatText), color: term.ColorAuto,
	}
	if a.Version == "" {
		a.Version = buildVersion()
	}
	if a.Name == "" {
		a.Name = strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	}
	if a.IO == nil {
		a.IO = term.System()
	}
	streams := *a.IO
	a.status = term.NewStatus(streams.Err)
	streams.Err = a.status
	streams.In = term.Interruptible(ctx, streams.In)
	a.IO = &streams
	a.paint()
	if err := a.Catalog.Err(); err != nil {
		err = Fail(ExitError, "mend the contracts: they are Go values, so this is a change to the program", "the catalog is wrong:\n%w", err)
		a.report(err)
		return exitOf(err)
	}
	root := a.root()
	if len(c.Args) > 0 && slices.Contains([]string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, c.Args[0]) {
		plainUsages(root)
	}
	root.SetArgs(c.Args)
	err := root.ExecuteContext(ctx)
	err = a.finish(ctx, cmp.Or(err, a.noHelp))
	a.report(err)
	return exitOf(err)
}

// finish gives an error that has none its exit code.
func (a *App) finish(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case exitOf(err) == ExitPartial:
		return err
	case ctx.Err() != nil:
		next := ""
		if e, ok := err.(*Error); ok { //nolint:errorlint // its own hint, not that of a cause
			next = e.Next
		}
		return &Error{Exit: ExitInterrupted, Err: interruption(err), Next: next}
	case !a.started && exitOf(err) == ExitError:
		return usage(a.Name+" --help", "%w", err)
	default:
		return err
	}
}

// report tells of an error, on standard error.
func (a *App) report(err error) {
	if err == nil {
		return
	}
	f := failureOf(err)
	if a.Format() != FormatText {
		_ = writeJSON(a.IO.Err, f, false)
		return
	}
	text := a.err.Paint(term.Red, "error:") + " " + term.Printable(f.Error.Message) + "\n"
	if invalid, ok := errors.AsType[*schema.Invalid](err); ok && len(invalid.Problems) > 1 {
		text = a.err.Paint(term.Red, "error:") + " " + term.Printable(strings.TrimSuffix(f.Error.Message, " "+invalid.Error())) + "\n"
		for _, p := range invalid.Problems {
			text += "  " + term.Printable(p.String()) + "\n"
		}
	}
	if f.Error.Next != "" {
		text += a.err.Paint(term.Dim, "next:") + "  " + f.Error.Next + "\n"
	}
	_, _ = a.IO.Err.Write([]byte(text))
}

// paint decides on colours, once --color is known.
func (a *App) paint() {
	a.out = term.StyleFor(a.IO, a.color, a.IO.OutTerminal)
	a.err = term.StyleFor(a.IO, a.color, a.IO.ErrTerminal)
}

// Logger returns a logger to standard error, at the level of log.level; by default it tells of warnings and errors.
func (a *App) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.IO.Err, &slog.HandlerOptions{Level: a.settings.logLevel}))
}

var notInServiceName = regexp.MustCompile(`[^a-z0-9-]+`)

// serviceName is what the CLI calls itself in the messages that it sends.
func (a *App) serviceName() string {
	name := strings.Trim(notInServiceName.ReplaceAllString(strings.ToLower(a.Name), "-"), "-")
	if name == "" {
		return "cli"
	}
	return name[:min(len(name), 63)]
}
