package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
)

type retryListOptions struct {
	queue, where string
	limit        int
	each         bool
}

// retryGroup is a line of `retry ls`: what waits to go back to one queue for the same reason.
type retryGroup struct {
	Queue    string     `json:"queue"`
	Contract string     `json:"contract,omitempty"`
	Service  string     `json:"service"`
	Code     string     `json:"code"`
	Reason   string     `json:"reason"`
	Count    int        `json:"count"`
	Since    *time.Time `json:"since,omitempty"` // of the one that has waited longest
	Next     *time.Time `json:"next,omitempty"`  // when the first goes back
	Last     *time.Time `json:"last,omitempty"`  // and when the last
	Error    string     `json:"error"`           // of the newest

	why    string
	newest *time.Time
}

func (a *App) retryListCommand() *cobra.Command {
	var o retryListOptions
	cmd := &cobra.Command{
		Use:     "ls [QUEUE]",
		Aliases: []string{"list"},
		Short:   "Show what waits for a retry: whose, why, since when, until when",
		Long: "Show what waits for a retry: whose, why, since when, until when. Messages are grouped by queue and error, or listed one\n" +
			"by one with --each. OLDEST is how long ago the first of them failed, NEXT and LAST in how long the first and the last go\n" +
			"back to their queue.\n\n" + a.retryWhereHelp(),
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
	r, closeAll, err := a.retries(ctx, "retry ls", o.queue, o.where)
	if err != nil {
		return err
	}
	defer closeAll()
	var groups retryGroups
	var all []retry
	failed := r.each(ctx, o.limit, func(one retry) {
		if o.each {
			all = append(all, one)
		} else {
			groups.add(one)
		}
	})
	r.pick.warn(a)
	if failed != nil && r.read == 0 {
		return failed
	}
	if len(groups)+len(all) == 0 {
		if err := r.nothing(o.where); err != nil || a.Format() == FormatText {
			return cmp.Or(err, failed)
		}
	}
	if o.each {
		slices.SortStableFunc(all, func(x, y retry) int { return compareMoments(x.Until, y.Until) })
		err = PrintList(a, all, func() *term.Table { return retryTable(all) })
	} else {
		groups.sort()
		err = PrintList(a, groups, groups.table)
	}
	return cmp.Or(err, failed)
}

func retryTable(all []retry) *term.Table {
	t := term.NewTable("QUEUE", "ID", "ATTEMPTS#", "WHY", "SINCE#", "BACK IN#", "ERROR~")
	for _, one := range all {
		t.Add(term.Painted(one.Queue, term.Bold), term.Plain(one.ID), term.Plain(countText(one.Attempts)), term.Painted(one.why(), term.Yellow),
			term.Plain(agePointer(one.Since)), term.Plain(inText(one.Until)), term.Plain(one.Error))
	}
	return t
}

type retryGroups []retryGroup

func (g *retryGroups) add(one retry) {
	i := slices.IndexFunc(*g, func(have retryGroup) bool {
		return have.Queue == one.Queue && have.Code == one.Code && have.Reason == one.Reason && have.why == one.why()
	})
	if i < 0 {
		i = len(*g)
		*g = append(*g, retryGroup{
			Queue: one.Queue, Contract: one.Contract, Service: one.Service, Code: one.Code, Reason: one.Reason, why: one.why(),
		})
	}
	at := &(*g)[i]
	at.Count++
	if compareMoments(one.Since, at.Since) < 0 {
		at.Since = one.Since
	}
	if compareMoments(one.Until, at.Next) < 0 {
		at.Next = one.Until
	}
	if at.Last == nil || one.Until != nil && one.Until.After(*at.Last) {
		at.Last = one.Until
	}
	if at.newest == nil || one.Since != nil && !one.Since.Before(*at.newest) {
		at.newest, at.Error = one.Since, one.Error
	}
}

// sort puts the groups in the order of their queues, the largest of each first.
func (g retryGroups) sort() {
	slices.SortStableFunc(g, func(x, y retryGroup) int { return cmp.Or(cmp.Compare(x.Queue, y.Queue), cmp.Compare(y.Count, x.Count)) })
}

func (g retryGroups) table() *term.Table {
	t := term.NewTable("QUEUE", "SERVICE", "COUNT#", "WHY", "OLDEST#", "NEXT#", "LAST#", "ERROR~")
	for _, one := range g {
		t.Add(term.Painted(one.Queue, term.Bold), term.Plain(one.Service), term.Plain(strconv.Itoa(one.Count)), term.Painted(one.why, term.Yellow),
			term.Plain(agePointer(one.Since)), term.Plain(inText(one.Next)), term.Plain(inText(one.Last)), term.Plain(one.Error))
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

// inText is in how long something will be.
func inText(at *time.Time) string {
	if at == nil {
		return ""
	}
	left := time.Until(*at).Seconds()
	if left <= 0 {
		return "now"
	}
	return secondsText(&left)
}
