package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/schema"
)

type queuesOptions struct {
	filter string
	all    bool
	watch  bool
	every  time.Duration
}

func (a *App) queuesCommand() *cobra.Command {
	var o queuesOptions
	cmd := &cobra.Command{
		Use:   "queues [FILTER]",
		Short: "Show the queues: how much waits, who consumes it, and how fast",
		Long: "Show the work queues of all services, their dead-letter queues, and the retry tiers: how much waits, who consumes it,\n" +
			"and how fast. FILTER is a name, or a pattern such as '*.dlq'.\n\n" +
			"READY and CONSUMERS come from the broker itself; the rest comes from its management API, a few seconds late. IN/s counts\n" +
			"messages published, OUT/s messages acked. CLEARS IN is how long the waiting messages will last at that rate. Unknown\n" +
			"values are shown as -.",
		Example:           fmt.Sprintf("  %[1]s queues\n  %[1]s queues '*.dlq' --watch\n  %[1]s queues --watch=10s -o jsonl", a.Name),
		Args:              Arguments(0, 2),
		ValidArgsFunction: a.completeQueue(a.shownQueues),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.watch = cmd.Flags().Changed("watch")
			if n := len(args); o.watch && n > 0 { // --watch 5s, which pflag reads as an argument
				if every, err := time.ParseDuration(args[n-1]); err == nil {
					o.every, args = every, args[:n-1]
				}
			}
			switch {
			case len(args) > 1:
				return usage("", "too many arguments (%q); give one pattern, in single quotes", args[1])
			case len(args) == 1:
				o.filter = args[0]
			}
			return a.queues(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.DurationVarP(&o.every, "watch", "w", watchEvery, "refresh at this `interval` until Ctrl-C")
	f.Lookup("watch").NoOptDefVal = watchEvery.String()
	f.BoolVar(&o.all, "all", false, "show all queues of the virtual host, not only the catalog's; needs the management API")
	return cmd
}

// watchEvery is the default interval of --watch.
const watchEvery = 2 * time.Second

func (a *App) queues(ctx context.Context, o queuesOptions) error {
	if _, err := path.Match(o.filter, ""); err != nil {
		return usage("", "%q is not a valid pattern: * matches any text, ? one character, [abc] one of these", o.filter)
	}
	if o.every < 100*time.Millisecond {
		return usage("", "--watch is %v; it must be 100ms or more", o.every)
	}
	shown := a.shownQueues()
	looked := shown
	if o.filter != "" && !o.all {
		looked = matching(shown, o.filter)
		if len(looked) == 0 { // or without the namespace
			looked = matching(shown, a.names().ContractQueue(o.filter))
		}
		if len(looked) == 0 {
			return a.noQueue(o.filter, shown)
		}
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx, conn.Close)
	api, err := a.management()
	if err != nil {
		return usage("", "%w", err)
	}
	l := &look{app: a, conn: conn.Rabbit(), api: api, queues: looked, queuesOptions: o}
	if o.watch {
		return l.watch(ctx)
	}
	rows, err := l.sample(ctx)
	if err != nil {
		return a.explain(err)
	}
	l.warnOfTrouble()
	return PrintList(a, rows, func() *term.Table { return queueTable(rows) })
}

// warnOfTrouble warns about what the last sample lacks.
func (l *look) warnOfTrouble() {
	if l.trouble != nil {
		l.app.Warn("%v; unacked messages and rates are unknown; %s", l.trouble, hint(l.trouble))
	}
}

// hint says what to do about an error of the management API.
func hint(trouble error) string {
	if errors.Is(trouble, management.ErrRefused) {
		return "grant the tag with rabbitmqctl set_user_tags"
	}
	return "set broker.management_url (LEVERET_BROKER_MANAGEMENT_URL) to its address"
}

// noQueue is the error of a queue that the catalog does not have.
func (a *App) noQueue(name string, among []shownQueue) error {
	var names []string
	for _, q := range among {
		names = append(names, q.name)
	}
	return Fail(ExitNotFound, a.Name+" queues", "the catalog has no queue %q%s", name, schema.DidYouMean(name, names))
}

func matching(queues []shownQueue, pattern string) []shownQueue {
	var found []shownQueue
	for _, q := range queues {
		if ok, _ := path.Match(pattern, q.name); ok {
			found = append(found, q)
		}
	}
	return found
}

// completeQueue completes the first argument with the names of queues.
func (a *App) completeQueue(queues func() []shownQueue) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		_ = a.load(cmd) // for the namespace
		var found []cobra.Completion
		for _, q := range queues() {
			found = append(found, cobra.CompletionWithDesc(q.name, q.describe()))
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// look is one run of `queues`.
type look struct {
	queuesOptions
	app     *App
	conn    *rabbit.Conn
	api     *management.Client
	queues  []shownQueue
	trouble error // of the management API

	last     map[string]int // READY in the last sample
	lastTime time.Time
}

// sample reads the queues once. It fails only if the broker itself does not answer.
func (l *look) sample(ctx context.Context) ([]queueRow, error) {
	managed, err := l.api.Queues(ctx, l.app.settings.vhost())
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l.trouble = err
	queues := l.queues
	if l.all {
		if err != nil {
			return nil, Fail(ExitError, hint(err), "--all: %w", err)
		}
		queues = withOthers(queues, managed, l.filter)
	}
	now := time.Now()
	rows := make([]queueRow, 0, len(queues))
	ready := make(map[string]int, len(queues))
	for _, q := range queues {
		m, known := managed[q.name]
		row := newQueueRow(q, m, now)
		state, err := l.conn.Inspect(ctx, q.name)
		switch {
		case err == nil:
			row.Declared, row.Ready, row.Consumers = true, &state.Ready, &state.Consumers
		case errors.Is(err, rabbit.ErrNotFound):
			row = queueRow{shownQueue: q, Name: q.name, Kind: q.kind, Contract: q.contract, Service: q.service}
		case errors.Is(err, rabbit.ErrRefused) && l.trouble == nil:
			row.Declared = known // the management API is a few seconds late
		case errors.Is(err, rabbit.ErrRefused):
			return nil, Fail(ExitUnreachable, l.app.grant(err)+"; or "+hint(l.trouble), "%w; and %w", err, l.trouble)
		default:
			return nil, err
		}
		if row.Ready != nil {
			ready[q.name] = *row.Ready
		}
		row.estimate(l.last, now.Sub(l.lastTime))
		rows = append(rows, row)
	}
	l.last, l.lastTime = ready, now
	return rows, nil
}

// shownQueue is a queue of the catalog.
type shownQueue struct {
	name, kind, contract, service string
}

// The kinds of queue.
const (
	kindWork        = "work"
	kindDeadLetters = "dead_letters"
	kindRetry       = "retry"
	kindLost        = "lost"
	kindQuarantine  = "quarantine"
	kindOther       = "other"
)

func (q shownQueue) describe() string {
	switch q.kind {
	case kindWork:
		return q.contract + " to " + q.service
	case kindDeadLetters:
		return "dead letters of " + q.service
	case kindRetry:
		return "retry tier"
	case kindQuarantine:
		return "messages that may have crashed " + q.service
	default:
		return "messages whose queue was deleted"
	}
}

// shownQueues returns the queues of the catalog: each work queue and its dead-letter queue, then those of
// [App.retryTiers].
func (a *App) shownQueues() []shownQueue {
	var all []shownQueue
	seen := map[string]bool{}
	add := func(q shownQueue) {
		if !seen[q.name] {
			seen[q.name] = true
			all = append(all, q)
		}
	}
	names := a.names()
	for _, q := range a.workQueues() {
		add(shownQueue{q.name, kindWork, q.contract, q.service})
		if q.kind != leveret.KindRequest {
			add(shownQueue{names.DeadLetterQueue(q.name), kindDeadLetters, q.contract, q.service})
		}
	}
	for _, q := range a.retryTiers() {
		add(q)
	}
	return all
}

// withOthers adds the queues that the catalog does not have, and keeps those that match.
func withOthers(queues []shownQueue, managed map[string]management.Queue, pattern string) []shownQueue {
	known := map[string]bool{}
	var all []shownQueue
	for _, q := range queues {
		known[q.name] = true
		all = append(all, q)
	}
	for _, name := range slices.Sorted(maps.Keys(managed)) {
		if !known[name] {
			all = append(all, shownQueue{name: name, kind: kindOther})
		}
	}
	if pattern != "" {
		all = matching(all, pattern)
	}
	return all
}
