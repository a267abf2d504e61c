package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/outboxcmd"
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
			"serve: a binary that is newer than the running program migrates the database.\n\n" +
			"Exit codes: 0 ok, 1 error, 2 usage, 3 partly done, 5 there is no such message, 6 the outbox refused or failed, 130 interrupted.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return exit(exitUsage, "say what to do: ls, show, retry, skip or cancel; see %s --help", cmd.CommandPath())
		},
	}
	group.AddCommand(p.outboxLs(schema), p.outboxShow(schema))
	for _, d := range outboxcmd.Decisions {
		group.AddCommand(p.outboxDecision(schema, d))
	}
	return group
}

func (p Program) outboxLs(schema *config.Schema) *cobra.Command {
	var format string
	q := operator.OutboxQuery{Limit: 100}
	cmd := &cobra.Command{
		Use: "ls", Short: outboxcmd.ListShort, Long: outboxcmd.ListLong,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(outboxcmd.Check(q), checkFormat(format)); err != nil {
				return exit(exitUsage, "%w", err)
			}
			return p.withOutbox(cmd, schema, func(ctx context.Context, desk desk) error {
				var found []operator.OutboxMessage
				if err := desk.do(ctx, operator.OutboxList, q, &found); err != nil {
					return err
				}
				if note := outboxcmd.Note(p.Service.Name(), q, found); note != "" {
					fmt.Fprintln(cmd.ErrOrStderr(), note)
				}
				if len(found) == 0 && format == formatText {
					return nil
				}
				return printList(cmd, format, found, outboxcmd.Table)
			})
		},
	}
	formatFlag(cmd, &format)
	cmd.Flags().StringVar(&q.State, "state", "", "only messages of this state: `aside|blocked|ready|later`")
	cmd.Flags().IntVar(&q.Limit, "limit", q.Limit, "list at most this many")
	return cmd
}

func (p Program) outboxShow(schema *config.Schema) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "show ID", Short: outboxcmd.ShowShort, Long: outboxcmd.ShowLong,
		Args: outboxIDs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return exit(exitUsage, "%w", err)
			}
			return p.withOutbox(cmd, schema, func(ctx context.Context, desk desk) error {
				var found operator.OutboxMessage
				if err := desk.do(ctx, operator.OutboxShow, args[0], &found); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), found, format != formatJSONL)
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

// outboxDecision returns a command that decides about some messages.
func (p Program) outboxDecision(schema *config.Schema, d outboxcmd.Decision) *cobra.Command {
	var format string
	var yes bool
	cmd := &cobra.Command{
		Use: d.Name + " ID...", Short: d.Short, Long: d.Long, Args: outboxIDs(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return exit(exitUsage, "%w", err)
			}
			return p.withOutbox(cmd, schema, func(ctx context.Context, desk desk) error {
				if d.Removes {
					if err := confirm(ctx, cmd, yes, d.Question(len(args), p.Service.Name())); err != nil {
						return err
					}
				}
				decide := func(ctx context.Context, id string) error { return desk.do(ctx, d.Command, id, nil) }
				all, err := outboxcmd.Decide(ctx, args, decide, func(id string) error {
					if format == formatText {
						fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", plain.Text(id), d.Done)
					}
					return nil
				})
				if format != formatText {
					if err := printList(cmd, format, all, nil); err != nil {
						return err
					}
				}
				if _, ok := errors.AsType[*outboxcmd.PartialError](err); ok {
					return exit(exitPartial, "%w", err)
				}
				return err
			})
		},
	}
	formatFlag(cmd, &format)
	if d.Removes {
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

// withOutbox runs the program's Setup, without serving anything, and calls do with what decides about the outbox that it registers.
func (p Program) withOutbox(cmd *cobra.Command, schema *config.Schema, do func(context.Context, desk) error) error {
	return p.prepared(cmd, schema, slog.LevelError, func(ctx context.Context, l *life) error { // the program itself warns
		if l.rt.outbox == nil {
			return exit(exitFailed, "the program has no outbox: its Setup does not call Runtime.Relay")
		}
		return do(ctx, outboxCommands(l.rt.outbox, p.Service))
	})
}

// A desk is what can be done with an outbox, by name.
type desk map[string]operator.Command

// do does what an operator would have a running process do.
func (d desk) do(ctx context.Context, command string, argument, result any) error {
	what, err := json.Marshal(argument)
	if err != nil {
		return err
	}
	answer, err := d[command](ctx, what)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case leveret.CodeOf(err) == leveret.NotFound:
		return exit(exitNotFound, "%w", err)
	case err != nil:
		return exit(exitAnswered, "%w", err)
	}
	text, err := json.Marshal(answer)
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(text, result)
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

// outboxMessages lists messages of an outbox.
func outboxMessages(ctx context.Context, o *outbox.Outbox, q operator.OutboxQuery) ([]operator.OutboxMessage, error) {
	if q.Limit > outboxcmd.MaxListed {
		return nil, leveret.Errorf(leveret.InvalidArgument, "the limit is %d; it must be 1 to %d", q.Limit, outboxcmd.MaxListed)
	}
	found, err := o.List(ctx, outbox.State(q.State), q.Limit)
	all := []operator.OutboxMessage{}
	for _, e := range found {
		all = append(all, outboxMessage(e))
	}
	return all, err
}

// outboxCommands are what operators can have a process do with its outbox, and what the program's own commands do.
func outboxCommands(o *outbox.Outbox, of *leveret.Service) desk {
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
	return desk{
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
