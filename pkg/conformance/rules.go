package conformance

import (
	"context"
	"strings"
)

// A Rule is one that clients of a role keep.
type Rule struct {
	// ID is the role's letter and a number: W1.
	ID string
	// Text is the rule, and why it is one where that is not plain.
	Text string
	// Link is the section of docs/wire.md that explains it.
	Link string
	// Should says that the rule is advice.
	Should bool

	needs []string // rules without which this one cannot be judged
	early bool     // it is judged even if the client does not start to consume
	// deadLetters says that a client that keeps the rule makes a dead letter.
	deadLetters bool
	check       func(context.Context, *session) verdict
}

// Rules returns the rules of a role, in order; none if there is no such role.
func Rules(role Role) []Rule {
	switch role {
	case Worker:
		return workerRules()
	case Answerer:
		return answererRules()
	case Sender:
		return senderRules()
	case Caller:
		return callerRules()
	case Listener:
		return listenerRules()
	default:
		return nil
	}
}

// brokersHeaders are those that RabbitMQ writes or obeys, as the rules name them.
const brokersHeaders = "`CC`, `BCC`, `x-death`, `x-delivery-count`, `x-acquired-count`, `x-stream-offset`, `x-first-death-*` and " +
	"`x-last-death-*`"

// brokersHeader reports whether a header, in any case of its letters, is one of brokersHeaders.
func brokersHeader(name string) bool {
	switch name = strings.ToLower(name); name {
	case "cc", "bcc", "x-death", "x-delivery-count", "x-acquired-count", "x-stream-offset":
		return true
	default:
		return strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
	}
}

// Markdown returns the rules of a role as they stand in docs/wire.md.
func Markdown(role Role) string {
	var b strings.Builder
	b.WriteString("| rule | |\n| --- | --- |\n")
	for _, r := range Rules(role) {
		b.WriteString("| " + r.ID + " | " + r.Text + " ([more](#" + r.Link + ")) |\n")
	}
	return b.String()
}
