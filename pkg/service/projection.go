package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/stream"
)

// projectionCommand returns the commands for the projections that Setup registers with [Runtime.Project].
func (p Program) projectionCommand(schema *config.Schema) *cobra.Command {
	group := &cobra.Command{
		Use:   "projection",
		Short: "Show the projections, and build them again",
		Long: "Show how far the program's projections have come with the kept events that they read, and build them again.\n\n" +
			"Give the same flags, variables and file as to the running program, so that the database is the same. The commands\n" +
			"work while the program runs, and while it does not. They begin as the program does, up to the point where it would\n" +
			"serve: a binary that is newer than the running program migrates the database.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return exit(exitUsage, "say what to do: ls, rebuild or accept; see %s --help", cmd.CommandPath())
		},
	}
	group.AddCommand(p.projectionLs(schema), p.projectionRebuild(schema), p.projectionAccept(schema))
	return group
}

// projectionWait is how long the broker may take to be reached.
const projectionWait = 30 * time.Second

func (p Program) projectionRebuild(schema *config.Schema) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rebuild NAME",
		Short: "Empty a projection, and have it built again",
		Long: "Empty a projection's tables, and have the running program build them again from the kept events. Meanwhile they are\n" +
			"incomplete. Events that their streams no longer have do not come back.",
		Args: oneProjection,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withProjection(cmd, schema, args[0], func(_ context.Context, one *stream.Projection) error {
				question := "Empty the tables of " + one.Name() + "? They are incomplete until it has read its streams again."
				if err := confirm(cmd.Context(), cmd, yes, question); err != nil {
					return err
				}
				if err := one.Rebuild(cmd.Context()); err != nil { // it needs no broker
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is empty. The running program builds it again; %s projection ls shows how far it is.\n", one.Name(), p.Name)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (p Program) projectionAccept(schema *config.Schema) *cobra.Command {
	return &cobra.Command{
		Use:   "accept NAME",
		Short: "Have a projection go on although events are missing",
		Long: "Have a projection go on that stands still because events were deleted before it read them, or because a stream was\n" +
			"deleted and declared again. It goes on with what is left; its tables stay as they are. Where nothing is missing, it\n" +
			"changes nothing. It takes half a minute where a stream ends before what was read. Where the broker shows too little\n" +
			"to tell, or the new stream has no event yet, it fails, and changes nothing of that stream.",
		Args: oneProjection,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withProjection(cmd, schema, args[0], func(ctx context.Context, one *stream.Projection) error {
				accepted, err := one.Accept(ctx)
				for _, missing := range accepted {
					fmt.Fprintln(cmd.OutOrStdout(), "accepted:", missing)
				}
				if err == nil && len(accepted) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "nothing is missing")
				}
				return err
			})
		},
	}
}

func oneProjection(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return exit(exitUsage, "give the name of one projection; see %s --help", cmd.CommandPath())
	}
	return nil
}

// withProjection calls do with one projection.
func (p Program) withProjection(cmd *cobra.Command, schema *config.Schema, name string, do func(context.Context, *stream.Projection) error) error {
	return p.withProjections(cmd, schema, func(ctx context.Context, all []*stream.Projection) error {
		var names []string
		for _, one := range all {
			if one.Name() == name {
				return do(ctx, one)
			}
			names = append(names, one.Name())
		}
		return exit(exitUsage, "there is no projection %q; there are: %s", name, strings.Join(names, ", "))
	})
}

// withProjections runs the program's Setup, without serving anything, and calls do with the projections that it registers.
func (p Program) withProjections(cmd *cobra.Command, schema *config.Schema, do func(context.Context, []*stream.Projection) error) error {
	return p.prepared(cmd, schema, slog.LevelWarn, func(ctx context.Context, l *life) error {
		reaching, stop := reached(ctx, l.rt.Conn)
		defer stop()
		return do(reaching, l.rt.projected)
	})
}

// prepared runs the program's Setup, without serving anything, and calls do with what it has made. It logs from a level on, as text:
// somebody reads it.
func (p Program) prepared(cmd *cobra.Command, schema *config.Schema, level slog.Level, do func(context.Context, *life) error) error {
	loaded, err := p.load(schema, cmd.Flags())
	if err != nil {
		return err
	}
	s, err := p.settings(loaded)
	if err != nil {
		return exit(exitUsage, "%w", err)
	}
	ctx := cmd.Context()
	s.health = config.Off // it is the running program's
	l := &life{program: p, loaded: loaded, settings: s, ready: &readiness{}}
	if s.logFormat == "auto" {
		s.logFormat = "text"
	}
	l.log = newLogger(cmd.ErrOrStderr(), s.logFormat, max(s.logLevel, level)).With("service", p.Service.Name())
	err = l.prepare(ctx)
	if err == nil {
		err = do(ctx, l)
	}
	err = errors.Join(err, l.down(context.WithoutCancel(ctx)))
	if err != nil && ctx.Err() != nil {
		return exit(exitAtOnce, "interrupted")
	}
	if errors.Is(err, leveret.ErrNotConnected) || errors.Is(err, leveret.ErrRefused) {
		return exit(exitUnreachable, "%w", err)
	}
	return err
}

// reached returns a context that ends with ctx, or when the broker has not been reached within projectionWait.
func reached(ctx context.Context, conn *leveret.Conn) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	late, cancel := context.WithTimeout(ctx, projectionWait)
	stop := context.AfterFunc(late, func() {
		if err := conn.Rabbit().Await(late); err != nil { // it does not wait: late has ended
			end(err)
		}
	})
	return ctx, func() { stop(); cancel(); end(nil) }
}

// prepare calls Setup, without waiting for the broker.
func (l *life) prepare(ctx context.Context) (err error) {
	if l.telemetry, err = newTelemetry(ctx, l.program, l.settings, l.ready, l.log); err != nil {
		return err
	}
	l.opens("telemetry", l.telemetry.close)
	err = l.build(ctx, func(ctx context.Context) (*leveret.Conn, error) {
		conn, err := leveret.Open(l.connConfig(ctx))
		return conn, l.connectErr(ctx, err)
	})
	if err != nil {
		return err
	}
	return errors.Join(l.rt.mistakes...)
}
