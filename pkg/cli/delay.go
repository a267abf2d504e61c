package cli

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// declareDelay makes sure that a delayed message has a tier to wait in and a queue to go to, as the command's worker does.
func (a *App) declareDelay(ctx context.Context, conn *leveret.Conn, c leveret.Contract) error {
	if a.settings.noDeclare {
		return nil
	}
	worker := leveret.NewService(c.Spec().Owner(), leveret.Handles(c))
	return rabbit.NewDeclarer(conn.Rabbit()).Declare(ctx, worker.Topology(conn.Names(), a.settings.requestQueueType))
}

// completeDelay completes --after with the delays of the command that is to be sent.
func (a *App) completeDelay(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		if c, err := a.contract(args[0], leveret.KindCommand); err == nil {
			return delaysOf(c.Spec()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		}
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func delaysOf(spec leveret.Spec) []string {
	var delays []string
	for _, d := range spec.Retry.Delays {
		delays = append(delays, short(d))
	}
	return delays
}

// delayed returns a contract of the same name that is published to a retry tier: from there, when the delay is over, the
// broker takes the message to the command's queue, as it takes a failed one. Only delays that the command retries after
// can be had so: for each there is a tier, declared by the command's worker.
func (a *App) delayed(c leveret.Contract, after time.Duration) (leveret.Contract, error) {
	spec := c.Spec()
	switch {
	case after == 0:
		return c, nil
	case spec.Address != nil && spec.Address.External:
		return nil, usage("", "--after: the queue of %s belongs to somebody else, no retry tier leads to it", spec.Name)
	case !slices.Contains(spec.Retry.Delays, after):
		return nil, usage("", "--after is %s; %s has retry tiers for %s only", short(after), spec.Name, list(delaysOf(spec)))
	}
	names := a.names()
	return leveret.NewCommand[json.RawMessage](spec.Name, leveret.At(leveret.Address{
		Exchange:   names.RetryTier(spec.Owner(), after),
		RoutingKey: leveret.Queue(names, c, spec.Owner(), ""),
		External:   true,
	})), nil
}
