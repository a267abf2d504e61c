package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

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
		a.outboxListCommand(), a.outboxShowCommand(),
		a.outboxDecisionCommand(outboxDecision{
			name: "retry", command: operator.OutboxRetry, done: "sent as soon as it can be",
			short: "Send messages that were set aside",
			long: "Have messages sent that were set aside, once what kept them is corrected. What is behind one in its key waits until it is\n" +
				"sent.",
		}),
		a.outboxDecisionCommand(outboxDecision{
			name: "skip", command: operator.OutboxSkip, done: "removed", removes: true,
			short: "Remove messages that were set aside",
			long:  "Remove messages that were set aside, so that those behind them in their keys go on. They are never sent.",
		}),
		a.outboxDecisionCommand(outboxDecision{
			name: "cancel", command: operator.OutboxCancel, done: "removed", removes: true,
			short: "Remove messages that are for later",
			long:  "Remove messages that are to be sent later. They are never sent.",
		}))
}

func (a *App) outboxListCommand() *cobra.Command {
	q := operator.OutboxQuery{Limit: 100}
	states := []string{"aside", "blocked", "ready", "later"}
	cmd := &cobra.Command{
		Use:     "ls SERVICE",
		Aliases: []string{"list"},
		Short:   "List messages that were not sent yet",
		Long: "List messages that were not sent yet. Of each state the oldest come first, and of those for later the ones that are due\n" +
			"first. The states, in the order in which they are listed:\n\n" +
			"  aside    they cannot be sent as they are, and wait for somebody to retry or skip them\n" +
			"  blocked  behind one of the same contract and key that was set aside\n" +
			"  ready    to be sent now\n" +
			"  later    to be sent at a time",
		Example: fmt.Sprintf("  %[1]s outbox ls %[2]s\n  %[1]s outbox ls %[2]s --state later", a.Name, a.someService()),
		Args:    Arguments(1, 1), ValidArgsFunction: a.completeService(),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case q.State != "" && q.State != "set aside" && !slices.Contains(states, q.State):
				return usage("", "--state is %q; it must be aside, blocked, ready or later", q.State)
			case q.Limit < 1 || q.Limit > maxOutboxListed:
				return usage("", "--limit is %d; it must be 1 to %d", q.Limit, maxOutboxListed)
			}
			return a.atOutbox(cmd.Context(), args[0], func(ctx context.Context, desk *outboxDesk) error {
				var found []operator.OutboxMessage
				if err := desk.do(ctx, operator.OutboxList, q, &found); err != nil {
					return err
				}
				if len(found) == 0 && a.Format() == FormatText {
					a.Note("nothing waits in the outbox of %s", args[0])
					return nil
				}
				return PrintList(a, found, func() *term.Table { return outboxTable(found) })
			})
		},
	}
	cmd.Flags().StringVar(&q.State, "state", "", "only messages of this state: `aside|blocked|ready|later`")
	cmd.Flags().IntVar(&q.Limit, "limit", q.Limit, "list at most this many")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func outboxTable(all []operator.OutboxMessage) *term.Table {
	t := term.NewTable("ID", "CONTRACT", "KEY", "STATE", "AGE#", "DUE IN#", "TROUBLE~")
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, m := range all {
		since := &m.Since
		if m.DueAt != nil {
			since = nil
		}
		t.Add(term.Painted(m.ID, term.Bold), term.Plain(m.Contract), term.Plain(text(m.Key)), term.Plain(m.State),
			term.Plain(agePointer(since)), term.Plain(inText(m.DueAt)), term.Plain(text(m.Trouble)))
	}
	return t
}

func (a *App) outboxShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show SERVICE ID",
		Short:   "Show a message that was not sent yet",
		Long:    "Show a message that was not sent yet, with its headers and its payload, as JSON. Secret fields are hidden.",
		Example: fmt.Sprintf("  %s outbox show %s 0197f3a2-5c1e-7d2b-9c57-3f0a4e6d8b11", a.Name, a.someService()),
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

// An outboxDecision is a command about messages in an outbox.
type outboxDecision struct {
	name, command     string
	short, long, done string
	removes           bool
}

// A decided message is what became of one: null for error is success.
type decided struct {
	ID    string  `json:"id"`
	Done  bool    `json:"done"`
	Error *string `json:"error"`
}

func (a *App) outboxDecisionCommand(d outboxDecision) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: d.name + " SERVICE ID...", Short: d.short, Long: d.long,
		Example: fmt.Sprintf("  %s outbox %s %s 0197f3a2-5c1e-7d2b-9c57-3f0a4e6d8b11", a.Name, d.name, a.someService()),
		Args:    Arguments(2, 1000), ValidArgsFunction: a.completeService(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.atOutbox(cmd.Context(), args[0], func(ctx context.Context, desk *outboxDesk) error {
				if d.removes {
					if err := a.confirm(ctx, yes, fmt.Sprintf("remove %d of the messages of %s, so that they are never sent?", len(args)-1, args[0])); err != nil {
						return err
					}
				}
				return a.decide(ctx, desk, d, args[1:])
			})
		},
	}
	if d.removes {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// decide has messages decided about, one after the other.
func (a *App) decide(ctx context.Context, desk *outboxDesk, d outboxDecision, ids []string) error {
	var all []decided
	var errs []error
	for _, id := range ids {
		err := desk.do(ctx, d.command, id, nil)
		one := decided{ID: id, Done: err == nil}
		if err != nil {
			text := err.Error()
			one.Error = &text
			errs = append(errs, err)
		}
		all = append(all, one)
		if err == nil && a.Format() == FormatText {
			if err := a.Printf("%s: %s\n", term.Printable(id), d.done); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if a.Format() != FormatText {
		if err := PrintList(a, all, nil); err != nil {
			return err
		}
	}
	switch err := errors.Join(errs...); {
	case err == nil:
		return nil
	case len(errs) < len(ids) && ctx.Err() == nil:
		return Fail(ExitPartial, "", "%d of %d were not decided: %w", len(errs), len(ids), err)
	default:
		return err
	}
}

// An outboxDesk is a process that sends the outbox of a service.
type outboxDesk struct {
	asker             *operator.Asker
	service, instance string
	program           string
}

const (
	// maxOutboxListed is how many messages a process lists at most.
	maxOutboxListed = 1000
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
	case err != nil:
		return err
	case report == nil:
		return Fail(ExitNotFound, "", "no process of %s answers: while none runs, its own binary shows the outbox, with its command outbox", service)
	case report.Outbox == nil:
		return Fail(ExitNotFound, "", "%s sends no outbox, or has only just begun to", service)
	default:
		return do(ctx, &outboxDesk{asker, service, report.Instance, report.Outbox.Program})
	}
}

// outboxOf returns the report of a process that sends the outbox of a service; that of another one where none does, and nil where
// nobody answers.
func outboxOf(ctx context.Context, asker *operator.Asker, service string) (*operator.Report, error) {
	reports, err := ask(ctx, asker, service, 1, askTime)
	if err != nil || len(reports) == 0 {
		return nil, err
	}
	if reports[0].Outbox == nil {
		further, err := ask(ctx, asker, service, math.MaxInt, furtherTime)
		if err != nil {
			return nil, err
		}
		reports = append(reports, further...)
	}
	i := slices.IndexFunc(reports, func(r operator.Report) bool { return r.Outbox != nil })
	return &reports[max(i, 0)], nil
}

func ask(ctx context.Context, asker *operator.Asker, service string, enough int, within time.Duration) ([]operator.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return asker.Ask(ctx, service, enough)
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

// someService returns a service for examples.
func (a *App) someService() string {
	for _, s := range a.Catalog.Services() {
		return s.Name()
	}
	return "SERVICE"
}

func (a *App) completeService() cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		if len(args) == 0 {
			found = append(found, names(a.Catalog.Services())...)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
