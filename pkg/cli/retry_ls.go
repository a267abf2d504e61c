package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
)

type retryListOptions struct {
	queue, where string
	limit        int
	each         bool
}

func (a *App) retryListCommand() *cobra.Command {
	var o retryListOptions
	cmd := &cobra.Command{
		Use:     "ls [QUEUE]",
		Aliases: []string{"list"},
		Short:   "Show what waits for a retry: whose, why, since when, until when",
		Long: "Show what waits for a retry: whose, why, since when, until when. Messages are grouped by queue and error, or listed one\n" +
			"by one with --each. Those that differ only in numbers, ids and quoted values count as one error. OLDEST and NEWEST are how\n" +
			"long ago the first and the last of them failed, FIRST DUE and LAST DUE in how long they go back to their queue.\n\n" + a.retryWhereHelp(),
		Example: fmt.Sprintf("  %[1]s retry ls\n  %[1]s retry ls %[2]s --each --where 'attempts > 2'", a.Name, a.someQueue()),
		Args:    Arguments(0, 1), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.queue = args[0]
			}
			return a.listRetries(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.where, "where", "", "show only messages that match this `expression`")
	f.IntVar(&o.limit, "limit", readAtOnce, "read at most this many messages of each retry tier")
	f.BoolVar(&o.each, "each", false, "list each message, instead of groups")
	return cmd
}

func (a *App) listRetries(ctx context.Context, o retryListOptions) error {
	if o.limit < 1 {
		return usage("", "--limit is %d; it must be 1 or more", o.limit)
	}
	found, end, err := a.failures(ctx, "retry ls", o.queue, o.where, true)
	if err != nil {
		return err
	}
	defer end()
	var groups deadletter.Groups
	var each []failedView
	if err := found.retries(ctx, o.limit, func(from deadletter.Source, l *deadletter.Letter) {
		if o.each {
			each = append(each, failedViewOf(l, from.Name))
		} else {
			groups.Add(l)
		}
	}); err != nil {
		return err
	}
	if o.each {
		slices.SortStableFunc(each, func(x, y failedView) int { return compareMoments(x.DueAt, y.DueAt) })
		return found.print(len(each), func() error { return PrintList(a, each, func() *term.Table { return failedTable(each, true, true) }) })
	}
	var all []failedGroup
	for _, g := range groups.List() {
		all = append(all, a.failedGroupOf(g))
	}
	return found.print(len(all), func() error { return PrintList(a, all, func() *term.Table { return retryGroups(all) }) })
}

// retries passes the messages that are selected, of the first limit of each tier, to visit.
//
// A quorum queue puts what it gets back behind what it got back earlier, and before the rest. So that the order stays,
// everything that was ever taken is taken again: those are delivered as redelivered.
func (f *failures) retries(ctx context.Context, limit int, visit func(deadletter.Source, *deadletter.Letter)) error {
	for _, from := range f.from {
		seen := 0
		f.app.warnOfReaders(ctx, f.letters, from)
		total, err := f.letters.Peek(ctx, from, everyLetter, func(l *deadletter.Letter) bool {
			if seen++; seen > limit {
				return l.Redelivered
			}
			if f.picks(l) {
				visit(from, l)
			}
			return true
		})
		if ok, err := f.reached(from, err); err != nil {
			return f.app.explainLetters(from, err)
		} else if !ok {
			continue
		}
		f.seen += min(total, limit)
		if total > limit {
			f.app.Warn("%s has %d messages; only the first %d were read. --limit reads more", from.Name, total, limit)
		}
	}
	return nil
}

// retryGroups lists groups of what waits for a retry, one per line.
func retryGroups(all []failedGroup) *term.Table {
	t := term.NewTable("QUEUE", "SERVICE", "COUNT#", "WHY", "OLDEST#", "NEWEST#", "FIRST DUE#", "LAST DUE#", "ERROR~")
	for _, g := range all {
		t.Add(term.Painted(g.Queue, term.Bold), term.Plain(g.Service), term.Plain(strconv.Itoa(g.Count)), cell(g.Code, g.Reason, g.Delayed, term.Yellow),
			term.Plain(agePointer(g.Oldest)), term.Plain(agePointer(g.Newest)), term.Plain(inText(g.FirstDue)), term.Plain(inText(g.LastDue)), term.Plain(g.text()))
	}
	return t
}

// compareMoments compares two moments; an unknown one is last.
func compareMoments(x, y *time.Time) int {
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1
	case y == nil:
		return -1
	default:
		return x.Compare(*y)
	}
}
