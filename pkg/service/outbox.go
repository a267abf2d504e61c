package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/plain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/schema"
)

// outboxCommand returns the commands for the outbox that Setup registers with [Runtime.Relay].
func (p Program) outboxCommand(schema *config.Schema) *cobra.Command {
	group := &cobra.Command{
		Use:   "outbox",
		Short: "Show and decide about messages that were not sent yet",
		Long: "Show the messages in the program's outbox, which were stored in a transaction and not sent yet, and decide about those\n" +
			"that cannot be sent, or are for later.\n\n" +
			"Give the same flags, variables and file as to the running program, so that the database is the same. The commands\n" +
			"work while the program runs, and while it does not. They begin as the program does, up to the point where it would\n" +
			"serve: a binary that is newer than the running program migrates the database.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return exit(exitUsage, "say what to do: ls, show, retry, skip or cancel; see %s --help", cmd.CommandPath())
		},
	}
	group.AddCommand(p.outboxLs(schema), p.outboxShow(schema), p.outboxRetry(schema), p.outboxSkip(schema), p.outboxCancel(schema))
	return group
}

// outboxStates are what --state takes; those that somebody has to see to come first.
var outboxStates = map[string][]outbox.State{
	"":      {outbox.Aside, outbox.Blocked, outbox.Ready, outbox.Later},
	"aside": {outbox.Aside}, string(outbox.Aside): {outbox.Aside}, "blocked": {outbox.Blocked}, "ready": {outbox.Ready}, "later": {outbox.Later},
}

func (p Program) outboxLs(schema *config.Schema) *cobra.Command {
	var format, state string
	var most int
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List messages that were not sent yet",
		Long: "List messages that were not sent yet. Of each state the oldest come first, and of those for later the ones that are due\n" +
			"first. The states, in the order in which they are listed:\n\n" +
			"  aside    they cannot be sent as they are, and wait for somebody to retry or skip them\n" +
			"  blocked  behind one of the same contract and key that was set aside\n" +
			"  ready    to be sent now\n" +
			"  later    to be sent at a time",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, known := outboxStates[state]
			switch {
			case !known:
				return exit(exitUsage, "--state is %q; it must be aside, blocked, ready or later", state)
			case format != "text" && format != "json":
				return exit(exitUsage, "--output is %q; it must be text or json", format)
			case most < 1 || most > maxListed:
				return exit(exitUsage, "--limit is %d; it must be 1 to %d", most, maxListed)
			}
			return p.withOutbox(cmd, schema, func(ctx context.Context, o *outbox.Outbox) error {
				found, err := outboxMessages(ctx, o, operator.OutboxQuery{State: state, Limit: most})
				if err != nil {
					return err
				}
				if format == "json" {
					return printJSON(cmd.OutOrStdout(), found)
				}
				return outboxTable(cmd.OutOrStdout(), found)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "format of the data: text or json")
	cmd.Flags().StringVar(&state, "state", "", "only messages of this state: aside, blocked, ready or later")
	cmd.Flags().IntVar(&most, "limit", 100, "how many at most")
	return cmd
}

func (p Program) outboxShow(schema *config.Schema) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a message that was not sent yet",
		Long:  "Show a message that was not sent yet, with its headers and its payload, as JSON. Secret fields are hidden.",
		Args:  outboxIDs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withOutbox(cmd, schema, func(ctx context.Context, o *outbox.Outbox) error {
				e, err := o.Get(ctx, args[0])
				if err != nil {
					return err
				}
				shown, err := outboxShown(e, p.Service)
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), shown)
			})
		},
	}
}

func (p Program) outboxRetry(schema *config.Schema) *cobra.Command {
	return p.outboxDecision(schema, "retry ID...", "Send messages that were set aside",
		"Have messages sent that were set aside, once what kept them is corrected. What is behind one in its key waits\n"+
			"until it is sent.", "sent as soon as it can be", (*outbox.Outbox).Retry, "")
}

func (p Program) outboxSkip(schema *config.Schema) *cobra.Command {
	return p.outboxDecision(schema, "skip ID...", "Remove messages that were set aside", "Remove messages that were set aside, so that those behind them in their keys go on. They are never sent.",
		"removed", (*outbox.Outbox).Skip, "This removes messages that are never sent then.")
}

func (p Program) outboxCancel(schema *config.Schema) *cobra.Command {
	return p.outboxDecision(schema, "cancel ID...", "Remove messages that are for later", "Remove messages that are to be sent later. They are never sent.",
		"removed", (*outbox.Outbox).Cancel, "This removes messages that are never sent then.")
}

// outboxDecision returns a command that does something with some messages.
func (p Program) outboxDecision(schema *config.Schema, use, short, long, done string, do func(*outbox.Outbox, context.Context, string) error, ask string) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: outboxIDs(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withOutbox(cmd, schema, func(ctx context.Context, o *outbox.Outbox) error {
				if ask != "" && !yes {
					if err := confirm(cmd, ask); err != nil {
						return err
					}
				}
				var errs []error
				for _, id := range args {
					if err := do(o, ctx, id); err != nil {
						errs = append(errs, err)
						continue
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", id, done)
				}
				return errors.Join(errs...)
			})
		},
	}
	if ask != "" {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// outboxIDs checks the arguments: as many ids, or at least one if that is negative.
func outboxIDs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case n < 0 && len(args) == 0:
			return exit(exitUsage, "give the id of at least one message; see %s --help", cmd.CommandPath())
		case n >= 0 && len(args) != n:
			return exit(exitUsage, "give the id of one message; see %s --help", cmd.CommandPath())
		}
		return nil
	}
}

// forgets returns what makes messages of a service come again later than its inbox remembers them, in words.
func forgets(o *outbox.Outbox, s *leveret.Service) (all []string) {
	if o == nil {
		return nil
	}
	if declared := s.Remembers(); declared != leveret.Forever && declared > o.Remembers() {
		all = append(all, fmt.Sprintf("leveret.Remembers(%v)", declared))
	}
	for _, c := range slices.Concat(s.Contracts(leveret.RoleHandles), s.Contracts(leveret.RoleSubscribes)) {
		spec := c.Spec()
		var total time.Duration
		for i := range spec.Retry.Attempts - 1 {
			total += spec.Retry.Delays[min(i, len(spec.Retry.Delays)-1)]
		}
		if total > o.Remembers() {
			all = append(all, fmt.Sprintf("the retries of %s, %v", spec.Name, total))
		}
	}
	return all
}

// withOutbox runs the program's Setup, without serving anything, and calls do with the outbox that it registers.
func (p Program) withOutbox(cmd *cobra.Command, schema *config.Schema, do func(context.Context, *outbox.Outbox) error) error {
	return p.prepared(cmd, schema, func(ctx context.Context, l *life) error {
		if l.rt.outbox == nil {
			return exit(exitFailed, "the program has no outbox: its Setup does not call Runtime.Relay")
		}
		return do(ctx, l.rt.outbox)
	})
}

// outboxMessage returns a message of an outbox for other programs, without headers and payload.
func outboxMessage(e *outbox.Entry) operator.OutboxMessage {
	m := operator.OutboxMessage{ID: e.ID, Contract: e.Contract, State: string(e.State), Since: e.Since, Tries: e.Tries}
	if e.Key != "" {
		m.Key = &e.Key
	}
	if !e.DueAt.IsZero() {
		m.DueAt = &e.DueAt
	}
	if e.Trouble != "" {
		m.Trouble = &e.Trouble
	}
	return m
}

// outboxShown returns one with headers and payload, in which the secret fields of the payload are hidden.
func outboxShown(e *outbox.Entry, of *leveret.Service) (operator.OutboxMessage, error) {
	m := outboxMessage(e)
	m.Headers = e.Headers
	for _, c := range slices.Concat(of.Contracts(leveret.RoleSends), of.Contracts(leveret.RolePublishes)) {
		if c.Spec().Name != e.Contract {
			continue
		}
		s, err := schema.Payload(c.Spec())
		if err != nil {
			return m, err
		}
		text, err := s.FromBody(e.Body)
		switch {
		case err == nil && json.Valid(text):
			m.Payload = s.Redact(text)
		case !s.HasSecrets():
			m.Payload, err = json.Marshal(e.Body) // base64
			return m, err
		}
	}
	return m, nil
}

// maxListed is how many messages are listed at most.
const maxListed = 1000

// outboxMessages lists messages of an outbox.
func outboxMessages(ctx context.Context, o *outbox.Outbox, q operator.OutboxQuery) ([]operator.OutboxMessage, error) {
	states, known := outboxStates[q.State]
	switch {
	case !known:
		return nil, leveret.Errorf(leveret.InvalidArgument, "the state is %q; it must be aside, blocked, ready or later", q.State)
	case q.Limit < 1 || q.Limit > maxListed:
		return nil, leveret.Errorf(leveret.InvalidArgument, "the limit is %d; it must be 1 to %d", q.Limit, maxListed)
	}
	all := []operator.OutboxMessage{}
	for _, state := range states {
		found, err := o.List(ctx, state, q.Limit-len(all))
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			all = append(all, outboxMessage(e))
		}
	}
	return all, nil
}

// outboxCommands are what operators can have a process do with its outbox.
func outboxCommands(o *outbox.Outbox, of *leveret.Service) map[string]operator.Command {
	if o == nil {
		return nil
	}
	one := func(do func(ctx context.Context, id string) (any, error)) operator.Command {
		return func(ctx context.Context, argument json.RawMessage) (any, error) {
			var id string
			if err := json.Unmarshal(argument, &id); err != nil {
				return nil, leveret.Errorf(leveret.InvalidArgument, "the id of a message is needed: %w", err)
			}
			return do(ctx, id)
		}
	}
	decide := func(do func(context.Context, string) error) operator.Command {
		return one(func(ctx context.Context, id string) (any, error) { return nil, do(ctx, id) })
	}
	return map[string]operator.Command{
		operator.OutboxList: func(ctx context.Context, argument json.RawMessage) (any, error) {
			var q operator.OutboxQuery
			if err := json.Unmarshal(argument, &q); err != nil {
				return nil, leveret.Errorf(leveret.InvalidArgument, "what to list cannot be read: %w", err)
			}
			return outboxMessages(ctx, o, q)
		},
		operator.OutboxShow: one(func(ctx context.Context, id string) (any, error) {
			e, err := o.Get(ctx, id)
			if err != nil {
				return nil, err
			}
			return outboxShown(e, of)
		}),
		operator.OutboxRetry:  decide(o.Retry),
		operator.OutboxSkip:   decide(o.Skip),
		operator.OutboxCancel: decide(o.Cancel),
	}
}

func printJSON(out io.Writer, v any) error {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(out, plain.Text(text.String()))
	return err
}

func outboxTable(out io.Writer, messages []operator.OutboxMessage) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tCONTRACT\tKEY\tSTATE\tSINCE\tTROUBLE")
	for _, m := range messages {
		since, key, trouble := m.Since, "-", "-"
		if m.Key != nil {
			key = oneLine(plain.Text(*m.Key))
		}
		if m.Trouble != nil {
			trouble = oneLine(plain.Text(*m.Trouble))
		}
		if m.DueAt != nil {
			since = *m.DueAt
		}
		fmt.Fprintln(table, strings.Join([]string{oneLine(plain.Text(m.ID)), m.Contract, key, m.State, since.Format(time.RFC3339), trouble}, "\t"))
	}
	return table.Flush()
}
