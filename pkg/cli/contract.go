package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// verbs are the commands that send each kind of contract.
var verbs = map[leveret.Kind]string{leveret.KindCommand: "send", leveret.KindEvent: "publish", leveret.KindRequest: "call"}

// contract finds a contract of one kind, or of any kind if that is 0.
func (a *App) contract(name string, kind leveret.Kind) (leveret.Contract, error) {
	c, ok := a.Catalog.Lookup(name)
	if !ok && strings.ContainsAny(name, "{}[]\":") { // which may hold a secret
		return nil, usage(a.Name+" contracts", "the contract is missing: its name comes before the payload")
	}
	if !ok {
		return nil, Fail(ExitNotFound, a.Name+" contracts", "there is no contract %q%s", name, schema.DidYouMean(name, a.contractNames(kind)))
	}
	if have := c.Spec().Kind; kind != 0 && have != kind {
		return nil, usage(fmt.Sprintf("%s %s %s …", a.Name, verbs[have], name), "%s is %s, not %s", name, article(have), article(kind))
	}
	return c, nil
}

// noContract is the mistake of naming none.
func (a *App) noContract(cmd *cobra.Command, kind leveret.Kind) error {
	return usage(a.Name+" contracts", "which %s? usage: %s", kind, cmd.UseLine())
}

func article(k leveret.Kind) string {
	if k == leveret.KindEvent {
		return "an " + k.String()
	}
	return "a " + k.String()
}

func (a *App) contractNames(kind leveret.Kind) []string {
	var names []string
	for _, c := range a.Catalog.Contracts() {
		if kind == 0 || c.Spec().Kind == kind {
			names = append(names, c.Spec().Name)
		}
	}
	return names
}

// some returns the name of a contract of a kind for the examples in help, from the catalog if possible.
func (a *App) some(kind leveret.Kind) string {
	if names := a.contractNames(kind); len(names) > 0 {
		return names[0]
	}
	return "service.verb"
}

// someQueue returns a queue that can have dead letters, for the same purpose.
func (a *App) someQueue() string {
	if queues := a.deadLetterQueues(); len(queues) > 0 {
		return queues[0].name
	}
	return "service.verb"
}

// completeContract completes the first argument with the contracts of a kind, or of all kinds if that is 0.
func (a *App) completeContract(kind leveret.Kind) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var found []cobra.Completion
		if len(args) == 0 {
			for _, c := range a.Catalog.Contracts() {
				if s := c.Spec(); kind == 0 || s.Kind == kind {
					found = append(found, cobra.CompletionWithDesc(s.Name, s.Kind.String()+" of "+s.Owner()))
				}
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
