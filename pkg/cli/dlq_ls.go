package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
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
			"were read have this error. OLDEST and NEWEST are how long ago the first and the last of them failed.\n\n" + whereHelp,
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

// letterGroups lists groups of dead letters, one per line.
func letterGroups(all []failedGroup) *term.Table {
	t := term.NewTable("QUEUE", "TOTAL#", "COUNT#", "WHY", "OLDEST#", "NEWEST#", "ERROR~")
	for _, g := range all {
		t.Add(term.Painted(g.Queue, term.Bold), term.Plain(strconv.Itoa(*g.Total)), term.Plain(strconv.Itoa(g.Count)),
			cell(g.Code, g.Reason, g.Delayed, term.Red), term.Plain(agePointer(g.Oldest)), term.Plain(agePointer(g.Newest)), term.Plain(g.text()))
	}
	return t
}
