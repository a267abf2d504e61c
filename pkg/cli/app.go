package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// An App is one run of a command line; its commands share it.
type App struct {
	// Name is the binary's name, as help and hints show it.
	Name    string
	Version string
	Catalog *leveret.Catalog
	IO      *term.Streams

	extra  []Extra
	own    []*cobra.Command // made by extra
	output string
	color  string

	out, err term.Style
	started  atomic.Bool // a command has begun, so an error from here on is not a mistake in its flags
	patient  bool        // the command is one of the program's own
	noHelp   error       // --help was asked of a command that does not exist
	status   *term.Status
	settings settings

	undeclared undeclared

	keys      []config.Key
	moreFlags []func()
	schema    *config.Schema
	loaded    *config.Loaded
}

// An Extra makes a command of the program's own. Its RunE should return errors made by [Fail]. Help lists it in the
// group that its GroupID names: "talk", "look" or "setup", or a new one: "run" becomes "Run:".
type Extra func(*App) *cobra.Command

// Config says what to run. Catalog and Args are required.
type Config struct {
	Catalog *leveret.Catalog
	// Args are the arguments, without the program's name.
	Args []string
	// Name is the binary's name. Default: the name of the running program.
	Name string
	// Version appears in --version and in the management UI. Default: the version that Go recorded in the build.
	Version string
	// Streams default to the streams of the process.
	Streams *term.Streams
	Extra   []Extra
}

// Main runs the process's command line on a catalog, and returns its exit code. It blocks until the command is done;
// when ctx ends, the command stops soon, with 130.
func Main(ctx context.Context, catalog *leveret.Catalog, extra ...Extra) int {
	return int(Run(ctx, Config{Catalog: catalog, Args: os.Args[1:], Extra: extra}))
}

// Run runs one command line and returns its exit code. It has written any error to the streams.
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
	a.IO = a.IO.Guarded()
	a.status = term.NewStatus(a.IO)
	a.IO.Err = a.status
	a.IO.In = term.Interruptible(ctx, a.IO.In)
	a.paint()
	if err := a.Catalog.Err(); err != nil {
		err = Fail(ExitError, "fix the contracts, which are Go values, and rebuild the program", "the catalog is invalid:\n%w", err)
		a.report(err)
		return exitOf(err)
	}
	root := a.root()
	if len(c.Args) > 0 && slices.Contains([]string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, c.Args[0]) {
		plainUsages(root)
	}
	root.SetArgs(c.Args)
	err := a.execute(ctx, root)
	a.undeclared.warn(a)
	err = a.finish(ctx, cmp.Or(err, a.noHelp))
	a.report(err)
	return exitOf(err)
}

// stopWithin is how long a command of this package may take to end once it is interrupted. It reports what is known
// about what it did, which takes lastWait at most.
func stopWithin() time.Duration { return 2 * lastWait }

// execute runs a command. One that does not end when it is interrupted, because its output is stuck for example, is left
// behind. A command of the program's own takes its time: it may have others to stop.
func (a *App) execute(ctx context.Context, root *cobra.Command) error {
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(stopWithin())
	defer late.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-late.C:
			if !a.started.Load() || !a.patient {
				return fmt.Errorf("the command did not stop within %v: %w", stopWithin(), context.Cause(ctx))
			}
		}
	}
}

// finish gives an exit code to an error that has none.
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
	case !a.started.Load() && exitOf(err) == ExitError:
		return usage(a.Name+" --help", "%w", err)
	default:
		return err
	}
}

// report writes an error to standard error, unless the command has printed it as data.
func (a *App) report(err error) {
	if e, ok := errors.AsType[*Error](err); err == nil || ok && e.Err == nil {
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

// paint decides about colours; it needs --color. JSON has none.
func (a *App) paint() {
	a.out, a.err = term.Style{}, term.Style{}
	if a.Format() == FormatText {
		a.out = term.StyleFor(a.IO, a.color, a.IO.OutTerminal)
		a.err = term.StyleFor(a.IO, a.color, a.IO.ErrTerminal)
	}
}

// Logger returns a logger to standard error at the level of log.level, by default warn. It logs JSON lines unless the
// format is text.
func (a *App) Logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: a.settings.logLevel}
	if a.Format() == FormatText {
		return slog.New(slog.NewTextHandler(a.IO.Err, options))
	}
	return slog.New(slog.NewJSONHandler(printable{a.IO.Err}, options))
}

var notInServiceName = regexp.MustCompile(`[^a-z0-9-]+`)

// serviceName is the name of the CLI in the messages that it sends: the binary's, made a valid service name.
func (a *App) serviceName() string {
	name := strings.Trim(notInServiceName.ReplaceAllString(strings.ToLower(a.Name), "-"), "-")
	if name == "" {
		return "cli"
	}
	return name[:min(len(name), 63)]
}
