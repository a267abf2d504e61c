// Package outboxcmd is what the commands for an outbox have in common: those of leveret, which ask a running process, and those
// of a service's own binary.
package outboxcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/operator"
)

// MaxListed is how many messages are listed at most.
const MaxListed = 1000

// States are what --state takes.
var States = []string{"aside", "blocked", "ready", "later"}

// The help.
const (
	ListShort = "List messages that were not sent yet"
	ListLong  = "List messages that were not sent yet. Of each state the oldest come first, and of those for later the ones that are due\n" +
		"first. The states, in the order in which they are listed:\n\n" +
		"  aside    they cannot be sent as they are, and wait for somebody to retry or skip them; a restart does not retry them\n" +
		"  blocked  behind one of the same contract and key that was set aside\n" +
		"  ready    to be sent now\n" +
		"  later    to be sent at a time"
	ShowShort = "Show a message that was not sent yet"
	ShowLong  = "Show a message that was not sent yet, with the headers that its sender set and its payload, as JSON. Secret fields are hidden."
)

// Check returns what is wrong with the flags of a query.
func Check(q operator.OutboxQuery) error {
	switch {
	case q.State != "" && !slices.Contains(States, q.State):
		return fmt.Errorf("--state is %q; it must be aside, blocked, ready or later", q.State)
	case q.Limit < 1 || q.Limit > MaxListed:
		return fmt.Errorf("--limit is %d; it must be 1 to %d", q.Limit, MaxListed)
	}
	return nil
}

// Note says what a list of messages does not say itself; it is empty where there is nothing to say.
func Note(service string, q operator.OutboxQuery, found []operator.OutboxMessage) string {
	switch {
	case len(found) >= q.Limit && q.Limit < MaxListed:
		return fmt.Sprintf("there may be more than these %d: --limit lists up to %d", len(found), MaxListed)
	case len(found) >= q.Limit:
		return fmt.Sprintf("there may be more than these %d", len(found))
	case len(found) > 0:
		return ""
	}
	switch q.State {
	case "":
		return "nothing waits in the outbox of " + service
	case "aside":
		return "no message of " + service + " is set aside"
	case "later":
		return "no message of " + service + " is for later"
	default:
		return "no message of " + service + " is " + q.State
	}
}

// Table returns messages for people.
func Table(all []operator.OutboxMessage) *term.Table {
	t := term.NewTable("ID", "CONTRACT", "KEY", "STATE", "AGE#", "DUE IN#", "TROUBLE~")
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, m := range all {
		age, due := term.Seconds(max(time.Since(m.Since).Seconds(), 0)), ""
		if m.DueAt != nil {
			age, due = "", "now"
			if left := time.Until(*m.DueAt).Seconds(); left > 0 {
				due = term.Seconds(left)
			}
		}
		t.Add(term.Painted(m.ID, term.Bold), term.Plain(m.Contract), term.Plain(text(m.Key)), term.Plain(m.State),
			term.Plain(age), term.Plain(due), term.Plain(text(m.Trouble)))
	}
	return t
}

// A Decision is a command about messages.
type Decision struct {
	Name, Short, Long string
	// Command is what the process is asked for, and Done what has become of a message then.
	Command, Done string
	// Removes says that messages are lost, so that somebody has to agree.
	Removes bool
}

// Decisions are the commands that decide about messages.
var Decisions = []Decision{
	{
		Name: "retry", Command: operator.OutboxRetry, Done: "will be sent",
		Short: "Send messages that were set aside",
		Long: "Have messages sent that were set aside, once what kept them is corrected. What is behind one in its key waits until it is\n" +
			"sent.",
	},
	{
		Name: "skip", Command: operator.OutboxSkip, Done: "removed", Removes: true,
		Short: "Remove messages that cannot be sent",
		Long: "Remove messages that were set aside, so that those behind them in their keys go on; or that no relay sends: the service does\n" +
			"not declare that it sends their contract, or no relay runs. They are never sent, unless a relay begins to at this moment.",
	},
	{
		Name: "cancel", Command: operator.OutboxCancel, Done: "removed", Removes: true,
		Short: "Remove messages that are for later",
		Long:  "Remove messages that are to be sent later. They are never sent. (Only the service's own code can move one: outbox.Move.)",
	},
}

// Question asks whether to go on with so many messages of a service.
func (d Decision) Question(n int, service string) string {
	if n == 1 {
		return fmt.Sprintf("Remove 1 message of %s? It will never be sent.", service)
	}
	return fmt.Sprintf("Remove %d messages of %s? They will never be sent.", n, service)
}

// Decided is what became of a message: null for error is success.
type Decided struct {
	ID    string  `json:"id"`
	Done  bool    `json:"done"`
	Error *string `json:"error"`
}

// A PartialError says that some of the decisions have failed, and others have not.
type PartialError struct {
	Failed, Of int
	err        error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d failed: %v", e.Failed, e.Of, e.err)
}

// Unwrap returns the causes.
func (e *PartialError) Unwrap() error { return e.err }

// Decide decides about messages, one after the other, and calls done for each that was. Where some have failed, and others
// have not, the error is a [*PartialError]. It ends early with ctx.
func Decide(ctx context.Context, ids []string, decide func(ctx context.Context, id string) error, done func(id string) error) ([]Decided, error) {
	var all []Decided
	var errs []error
	for _, id := range ids {
		err := decide(ctx, id)
		one := Decided{ID: id, Done: err == nil}
		if err != nil {
			text := err.Error()
			one.Error = &text
			errs = append(errs, err)
		}
		all = append(all, one)
		if err == nil {
			if err := done(id); err != nil {
				return all, err
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	err := errors.Join(errs...)
	if err != nil && len(errs) < len(ids) && ctx.Err() == nil {
		return all, &PartialError{len(errs), len(ids), err}
	}
	return all, err
}
