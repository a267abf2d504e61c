package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// declareDelay declares the retry tiers and the queue of a command as its worker does, for messages that are delayed.
func (a *App) declareDelay(ctx context.Context, conn *leveret.Conn, c leveret.Contract) error {
	if a.settings.noDeclare {
		return nil
	}
	worker := leveret.NewService(c.Spec().Owner(), leveret.Handles(c))
	return rabbit.NewDeclarer(conn.Rabbit()).Declare(ctx, worker.Topology(conn.Names(), a.settings.requestQueueType))
}

// completeDelay completes --after with the retry delays of the command.
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

// shared returns the names of the contracts that share a queue with a contract, itself included.
func (a *App) shared(spec leveret.Spec) []string {
	for _, q := range a.workQueues() {
		if all := q.names(); slices.Contains(all, spec.Name) {
			return all
		}
	}
	return nil
}

// delayed returns a contract of the same name that is published to a retry tier. After the delay the broker moves the
// message to the command's queue, as it does with a failed one. Only the command's own retry delays have a tier.
func (a *App) delayed(c leveret.Contract, after time.Duration) (leveret.Contract, error) {
	spec := c.Spec()
	switch {
	case after == 0:
		return c, nil
	case spec.Address != nil && spec.Address.External:
		return nil, usage("", "--after does not work with %s: its queue is owned by someone else, and no retry tier leads to it", spec.Name)
	case len(a.shared(spec)) > 1 && toldBy(spec) == "routing_key":
		return nil, usage("", "--after does not work with %s: its queue tells its messages from those of other contracts by their routing key, which "+
			"a message from a retry tier does not have", spec.Name)
	case !slices.Contains(spec.Retry.Delays, after):
		return nil, usage("", "--after is %s; %s can only be delayed by %s", short(after), spec.Name, list(delaysOf(spec)))
	}
	names, own := a.names(), leveret.Address{}
	if spec.Address != nil {
		own = *spec.Address
	}
	encoded := leveret.Bytes() // they are encoded when they get here
	encoded.ContentType = spec.ContentType()
	return leveret.NewCommand[json.RawMessage](spec.Name, leveret.Encoded(encoded), leveret.At(leveret.Address{
		Exchange:   names.RetryTier(spec.Owner(), after),
		RoutingKey: leveret.QueueName(names, c, spec.Owner(), ""),
		External:   true,
		Type:       cmp.Or(own.Type, spec.Name),
		Headers:    own.Headers,
	})), nil
}
