package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/internal/outboxcmd"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/schema"
)

func (a *App) outboxCommand() *cobra.Command {
	return group("outbox", "Show and decide about messages that a service has not sent yet",
		"Show the messages in the outbox of a service, which were stored in a transaction and not sent yet, and decide about those that\n"+
			"cannot be sent, or are for later. A running process of the service is asked, through the broker. While none runs, the command\n"+
			"outbox of the service's own binary does the same.",
		append([]*cobra.Command{a.outboxListCommand(), a.outboxShowCommand()}, a.outboxDecisions()...)...)
}

func (a *App) outboxListCommand() *cobra.Command {
	q := operator.OutboxQuery{Limit: 100}
	cmd := &cobra.Command{
		Use:     "ls SERVICE",
		Aliases: []string{"list"},
		Short:   outboxcmd.ListShort, Long: outboxcmd.ListLong,
		Example: fmt.Sprintf("  %[1]s outbox ls %[2]s\n  %[1]s outbox ls %[2]s --state later", a.Name, a.someOutbox()),
		Args:    Arguments(1, 1), ValidArgsFunction: a.completeService(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := outboxcmd.Check(q); err != nil {
				return usage("", "%w", err)
			}
			return a.atOutbox(cmd.Context(), args[0], func(ctx context.Context, desk *outboxDesk) error {
				var found []operator.OutboxMessage
				if err := desk.do(ctx, operator.OutboxList, q, &found); err != nil {
					return err
				}
				if note := outboxcmd.Note(args[0], q, found); note != "" {
					a.Note("%s", note)
				}
				if len(found) == 0 && a.Format() == FormatText {
					return nil
				}
				return PrintList(a, found, func() *term.Table { return outboxcmd.Table(found) })
			})
		},
	}
	cmd.Flags().StringVar(&q.State, "state", "", "only messages of this state: `aside|blocked|ready|later`")
	cmd.Flags().IntVar(&q.Limit, "limit", q.Limit, "list at most this many")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(outboxcmd.States, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *App) outboxShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show SERVICE ID",
		Short:   outboxcmd.ShowShort,
		Long:    outboxcmd.ShowLong,
		Example: fmt.Sprintf("  %s outbox show %s 0197f3a2-5c1e-7d2b-9c57-3f0a4e6d8b11", a.Name, a.someOutbox()),
		Args:    Arguments(2, 2), ValidArgsFunction: a.completeService(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.atOutbox(cmd.Context(), args[0], func(ctx context.Context, desk *outboxDesk) error {
				var found operator.OutboxMessage
				if err := desk.do(ctx, operator.OutboxShow, args[1], &found); err != nil {
					return err
				}
				return a.PrintJSON(found)
			})
		},
	}
}

// outboxDecisions returns the commands that decide about messages.
func (a *App) outboxDecisions() (all []*cobra.Command) {
	for _, d := range outboxcmd.Decisions {
		all = append(all, a.outboxDecisionCommand(d))
	}
	return all
}

func (a *App) outboxDecisionCommand(d outboxcmd.Decision) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: d.Name + " SERVICE ID...", Short: d.Short, Long: d.Long,
		Example: fmt.Sprintf("  %s outbox %s %s 0197f3a2-5c1e-7d2b-9c57-3f0a4e6d8b11", a.Name, d.Name, a.someOutbox()),
		Args:    Arguments(2, 1000), ValidArgsFunction: a.completeService(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.atOutbox(cmd.Context(), args[0], func(ctx context.Context, desk *outboxDesk) error {
				if d.Removes {
					if err := a.confirm(ctx, yes, d.Question(len(args)-1, args[0]), ""); err != nil {
						return err
					}
				}
				return a.decide(ctx, desk, d, args[1:])
			})
		},
	}
	if d.Removes {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// decide has messages decided about.
func (a *App) decide(ctx context.Context, desk *outboxDesk, d outboxcmd.Decision, ids []string) error {
	decide := func(ctx context.Context, id string) error { return desk.do(ctx, d.Command, id, nil) }
	all, err := outboxcmd.Decide(ctx, ids, decide, func(id string) error {
		if a.Format() != FormatText {
			return nil
		}
		return a.Printf("%s: %s\n", term.Printable(id), d.Done)
	})
	if a.Format() != FormatText {
		if err := PrintList(a, all, nil); err != nil {
			return err
		}
	}
	if _, ok := errors.AsType[*outboxcmd.PartialError](err); ok {
		return Fail(ExitPartial, "", "%w", err)
	}
	return err
}

// An outboxDesk is a process that sends the outbox of a service.
type outboxDesk struct {
	asker             *operator.Asker
	service, instance string
	program           string
}

const (
	// outboxTime is how long a process has to do something with its outbox.
	outboxTime = 15 * time.Second
	// furtherTime is how long other processes have to answer, where the first one sends no outbox.
	furtherTime = 300 * time.Millisecond
)

// atOutbox finds a process of a service that sends its outbox, and calls do with it.
func (a *App) atOutbox(ctx context.Context, service string, do func(context.Context, *outboxDesk) error) error {
	if known := names(a.Catalog.Services()); !slices.Contains(known, service) {
		return Fail(ExitNotFound, a.Name+" contracts ls", "the catalog has no service %q%s", service, schema.DidYouMean(service, known))
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return err
	}
	asker := operator.NewAsker(conn)
	defer a.close(ctx, conn, asker.Close)
	report, err := outboxOf(ctx, asker, service)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errSilent):
		return Fail(ExitTimeout, "", "%s: %w", service, err)
	case errors.Is(err, errNobody):
		return Fail(ExitNotFound, "", "%s: %w. Its own binary has the command outbox, which needs no running process", service, err)
	case err != nil:
		return err
	case report.Outbox == nil:
		return Fail(ExitNotFound, "", "%s has no outbox (none of its processes runs a relay)", service)
	default:
		return do(ctx, &outboxDesk{asker, service, report.Instance, report.Outbox.Program})
	}
}

var (
	// errNobody is why the outbox of a service is not known of which no process can be asked.
	errNobody = errors.New("none of its processes can be asked: none runs, or it is no program of package service")
	// errSilent is why that of one is not known whose processes run and do not answer.
	errSilent = errors.New("its processes do not answer; if there is an outbox, the command outbox of the service's own binary shows it")
)

// outboxOf returns the report of a process that sends the outbox of a service; that of another one where none does. It fails with
// errNobody or errSilent where there is none.
func outboxOf(ctx context.Context, asker *operator.Asker, service string) (*operator.Report, error) {
	within, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	reports, err := asker.Ask(within, service, 1)
	switch {
	case err != nil:
		return nil, err
	case len(reports) == 0 && within.Err() != nil:
		return nil, errSilent
	case len(reports) == 0:
		return nil, errNobody
	case reports[0].Outbox == nil:
		within, cancel := context.WithTimeout(ctx, furtherTime)
		defer cancel()
		further, err := asker.Ask(within, service, math.MaxInt)
		if err != nil {
			return nil, err
		}
		reports = append(reports, further...)
	}
	i := slices.IndexFunc(reports, func(r operator.Report) bool { return r.Outbox != nil })
	return &reports[max(i, 0)], nil
}

// do has the process do something.
func (d *outboxDesk) do(ctx context.Context, command string, argument, result any) error {
	within, cancel := context.WithTimeout(ctx, outboxTime)
	defer cancel()
	err := d.asker.Command(within, d.service, d.instance, command, argument, result)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case leveret.IsRemote(err) && leveret.CodeOf(err) == leveret.NotFound:
		return Fail(ExitNotFound, "", "%w", err)
	case errors.Is(err, rabbit.ErrUnroutable), within.Err() != nil:
		return Fail(ExitTimeout, "", "%s did not answer; what was asked may have been done: outbox ls shows it", d.instance)
	default:
		return err
	}
}

// someOutbox returns a service for examples: one that may have an outbox.
func (a *App) someOutbox() string {
	for _, s := range a.Catalog.Services() {
		if mayHaveOutbox(s) {
			return s.Name()
		}
	}
	return "SERVICE"
}

// mayHaveOutbox reports whether a service sends anything.
func mayHaveOutbox(s *leveret.Service) bool {
	return len(s.Contracts(leveret.RoleSends))+len(s.Contracts(leveret.RolePublishes)) > 0
}

func (a *App) completeService() cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		if len(args) == 0 {
			found = append(found, names(a.Catalog.Services())...)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
