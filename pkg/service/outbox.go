package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/outbox"
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
	"aside": {outbox.Aside}, "blocked": {outbox.Blocked}, "ready": {outbox.Ready}, "later": {outbox.Later},
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
			which, known := outboxStates[state]
			list, ok := map[string]func(io.Writer, []*outbox.Entry) error{"text": outboxTable, "json": outboxJSON}[format]
			switch {
			case !known:
				return exit(exitUsage, "--state is %q; it must be aside, blocked, ready or later", state)
			case !ok:
				return exit(exitUsage, "--output is %q; it must be text or json", format)
			case most < 1:
				return exit(exitUsage, "--limit is %d; it must be 1 or more", most)
			}
			return p.withOutbox(cmd, schema, func(ctx context.Context, o *outbox.Outbox) error {
				var entries []*outbox.Entry
				for _, state := range which {
					found, err := o.List(ctx, state, most-len(entries))
					if err != nil {
						return err
					}
					entries = append(entries, found...)
				}
				return list(cmd.OutOrStdout(), entries)
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
		Long:  "Show a message that was not sent yet, with its headers and its payload, as JSON.",
		Args:  outboxIDs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withOutbox(cmd, schema, func(ctx context.Context, o *outbox.Outbox) error {
				e, err := o.Get(ctx, args[0])
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), outboxViewOf(e, true))
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

// withOutbox runs the program's Setup, without serving anything, and calls do with the outbox that it registers.
func (p Program) withOutbox(cmd *cobra.Command, schema *config.Schema, do func(context.Context, *outbox.Outbox) error) error {
	return p.prepared(cmd, schema, func(ctx context.Context, l *life) error {
		if l.rt.outbox == nil {
			return exit(exitFailed, "the program has no outbox: its Setup does not call Runtime.Relay")
		}
		return do(ctx, l.rt.outbox)
	})
}

// An outboxView is a message in an outbox, for programs. Null stands for what there is not.
type outboxView struct {
	ID       string         `json:"id"`
	Contract string         `json:"contract"`
	Key      *string        `json:"key"`
	State    string         `json:"state"`
	Since    time.Time      `json:"since"`
	DueAt    *time.Time     `json:"due_at"`
	Tries    int            `json:"tries"`
	Trouble  *string        `json:"trouble"`
	Headers  map[string]any `json:"headers,omitempty"`
	Payload  any            `json:"payload,omitempty"`
}

func outboxViewOf(e *outbox.Entry, whole bool) outboxView {
	v := outboxView{ID: e.ID, Contract: e.Contract, State: string(e.State), Since: e.Since, Tries: e.Tries}
	if e.Key != "" {
		v.Key = &e.Key
	}
	if !e.DueAt.IsZero() {
		v.DueAt = &e.DueAt
	}
	if e.Trouble != "" {
		v.Trouble = &e.Trouble
	}
	if whole {
		v.Headers, v.Payload = e.Headers, json.RawMessage(e.Body)
		if !json.Valid(e.Body) {
			v.Payload = e.Body // base64
		}
	}
	return v
}

func outboxJSON(out io.Writer, entries []*outbox.Entry) error {
	views := make([]outboxView, len(entries)) // [] rather than null
	for i, e := range entries {
		views[i] = outboxViewOf(e, false)
	}
	return printJSON(out, views)
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func outboxTable(out io.Writer, entries []*outbox.Entry) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tCONTRACT\tKEY\tSTATE\tSINCE\tTROUBLE")
	for _, e := range entries {
		since, trouble := e.Since, "-"
		if e.Trouble != "" {
			trouble = oneLine(e.Trouble)
		}
		if !e.DueAt.IsZero() {
			since = e.DueAt
		}
		fmt.Fprintln(table, strings.Join([]string{e.ID, e.Contract, orDash(e.Key), string(e.State), since.Format(time.RFC3339), trouble}, "\t"))
	}
	return table.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
