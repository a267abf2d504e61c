package cli

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/topology"
)

type dlqListOptions struct {
	queue, where string
	limit        int
}

func (a *App) dlqListCommand() *cobra.Command {
	var o dlqListOptions
	cmd := &cobra.Command{
		Use:     "ls [QUEUE]",
		Aliases: []string{"list"},
		Short:   "Count dead letters by queue and error",
		Long: "Count dead letters by queue and error, with the newest message of each error. Messages that differ only in numbers, ids\n" +
			"and quoted values count as one error. TOTAL is the number of dead letters in the queue; COUNT is how many of those that\n" +
			"were read have this error. OLDEST and NEWEST are how long ago the first and the last of them failed.\n\n" +
			"Without QUEUE, the dead letters of all queues of the catalog are counted, and, if the management API can be asked, those\n" +
			"of services that it does not have, such as programs in other languages: of each queue whose name ends in .dlq and which\n" +
			"is declared as Leveret's dead-letter queues are.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq ls\n  %[1]s dlq ls %[2]s --where 'age < duration(\"1h\")'", a.Name, a.someQueue()),
		Args:    Arguments(0, 1), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.queue = args[0]
			}
			return a.listLetters(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.where, "where", "", "count only dead letters that match this `expression`")
	cmd.Flags().IntVar(&o.limit, "limit", readAtOnce, "read at most this many dead letters per queue")
	return cmd
}

func (a *App) listLetters(ctx context.Context, o dlqListOptions) error {
	if o.limit < 1 {
		return usage("", "--limit is %d; it must be 1 or more", o.limit)
	}
	found, end, err := a.failures(ctx, "dlq ls", o.queue, o.where, false)
	if err != nil {
		return err
	}
	defer end()
	if o.queue == "" {
		found.from = append(found.from, a.strangers(ctx, found.letters)...)
	}
	var all []failedGroup
	for _, from := range found.from {
		a.warnOfReaders(ctx, found.letters, from)
		groups, total, err := found.letters.Groups(ctx, from, o.limit, found.picks)
		if ok, err := found.reached(from, err); err != nil {
			return a.explainLetters(from, err)
		} else if !ok {
			continue
		}
		if total > o.limit {
			a.Warn("%s has %d dead letters; only the first %d were read. --limit reads more", nameOf(from), total, o.limit)
		}
		seen := min(total, o.limit)
		found.seen += seen
		for _, g := range groups {
			view := a.failedGroupOf(g)
			view.Seen, view.Total = &seen, &total
			if from.Queue == "" && !from.Theirs {
				view.Queue, view.LostQueue = from.Name, g.Queue
			}
			all = append(all, view)
		}
	}
	return found.print(len(all), func() error { return PrintList(a, all, func() *term.Table { return letterGroups(all) }) })
}

// strangers returns the dead letters of work queues that the catalog does not have, if the management API can be asked. It
// leaves out queues that are not declared as Leveret declares them: in one with a low delivery limit, a look may cost a
// message.
func (a *App) strangers(ctx context.Context, letters *deadletter.Store) []deadletter.Source {
	api, err := a.management()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	prefix := a.names().ContractQueue("")
	queues, err := api.QueuesLike(ctx, a.settings.vhost(), "^"+regexp.QuoteMeta(prefix)+`.*\`+topology.DeadLetterSuffix+"$")
	if err != nil {
		return nil
	}
	known := a.consumers()
	var all []deadletter.Source
	for _, name := range slices.Sorted(maps.Keys(queues)) {
		queue := deadletter.WorkQueue(name)
		limit := fmt.Sprint(queues[name].Arguments["x-delivery-limit"])
		if known(queue) == "" && limit == strconv.Itoa(topology.KeptDeliveryLimit) {
			all = append(all, letters.DeadLetters(queue))
		}
	}
	return all
}

// letterGroups lists groups of dead letters, one per line.
func letterGroups(all []failedGroup) *term.Table {
	t := term.NewTable("QUEUE", "TOTAL#", "COUNT#", "WHY", "OLDEST#", "NEWEST#", "ERROR~")
	for _, g := range all {
		t.Add(term.Painted(g.Queue, term.Bold), term.Plain(strconv.Itoa(*g.Total)), term.Plain(strconv.Itoa(g.Count)),
			cell(g.Code, g.Reason, g.Delayed, term.Red), term.Plain(agePointer(g.Oldest)), term.Plain(agePointer(g.Newest)), term.Plain(g.text()))
	}
	return t
}
