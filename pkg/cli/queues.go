package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/schema"
)

type queuesOptions struct {
	filter string
	all    bool
	watch  bool
	every  interval
}

func (a *App) queuesCommand() *cobra.Command {
	o := queuesOptions{every: interval(watchEvery)}
	cmd := &cobra.Command{
		Use:   "queues [FILTER]",
		Short: "Show the queues: how much waits, who consumes it, and how fast",
		Long: "Show the work queues of all services, their dead-letter queues, the queues of single processes, the retry tiers, and the streams\n" +
			"of kept events: how much waits, who consumes it, and how fast. FILTER is a name, or a pattern such as '*.dlq'. Looking takes no message and changes nothing.\n\n" +
			"READY and CONSUMERS are exact: the broker is asked for each queue. UNACKED, IN/s and OUT/s come from its management API,\n" +
			"some seconds late. IN/s counts messages published, OUT/s messages acked. CLEARS IN is how long the waiting messages will\n" +
			"last at that rate, or says that a work queue has no consumers. OLDEST is the age of the oldest message, since it was\n" +
			"first sent. A broker does not know that of a quorum queue; the running processes of its service are asked what they\n" +
			"are handling. <5m means that they took one of that age last, and are handling none: what waits is younger. Unknown values\n" +
			"are shown as -; OLDEST always is for dead letters and retry tiers (see dlq ls).\n\n" +
			"Of a kept event's stream, READY is what is kept, some seconds late: it waits for nobody, and reading takes nothing away.\n\n" +
			"An alarm, in which the broker takes no messages, is shown first. Without the management API it is noticed only while\n" +
			"processes are asked.\n\n" +
			"With --watch on a terminal that is too small for all queues, those are shown that have messages, rates or no consumers;\n" +
			"a FILTER shows all that match. Where a look takes longer than the interval, the next begins when it is done.",
		Example: fmt.Sprintf("  %[1]s queues\n  %[1]s queues '*.dlq' --watch\n  %[1]s queues --watch 10 -o jsonl\n  %[1]s queues show %[2]s",
			a.Name, a.someWorkQueue()),
		Args:              Arguments(0, 2),
		ValidArgsFunction: a.completeQueue(a.shownQueues),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.watch = cmd.Flags().Changed("watch"); o.watch {
				if args, err = a.takeInterval(args, &o.every); err != nil {
					return err
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
	f.VarP(&o.every, "watch", "w", "refresh at this `interval` until Ctrl-C, such as 5 (seconds) or 500ms")
	f.Lookup("watch").NoOptDefVal = o.every.String()
	f.BoolVar(&o.all, "all", false, "show all queues of the virtual host, not only the catalog's; needs the management API")
	RunsAlone(cmd)
	cmd.AddCommand(a.queuesShowCommand())
	return cmd
}

// someWorkQueue returns a queue for an example.
func (a *App) someWorkQueue() string {
	for _, q := range a.workQueues() {
		return q.name
	}
	return "QUEUE"
}

func (a *App) queues(ctx context.Context, o queuesOptions) error {
	if _, err := path.Match(o.filter, ""); err != nil {
		return usage("", "%q is not a valid pattern: * matches any text, ? one character, [abc] one of these", o.filter)
	}
	shown := a.shownQueues()
	looked := shown
	if o.filter != "" && !o.all {
		if looked = a.filtered(shown, o.filter); len(looked) == 0 {
			return a.noQueue(o.filter, shown)
		}
	}
	l, err := a.look(ctx, looked, o)
	if err != nil {
		return err
	}
	defer l.close(ctx)
	if o.watch {
		return l.watch(ctx)
	}
	rows, err := l.sample(ctx)
	if err != nil {
		return a.explain(err)
	}
	l.warnOfTrouble()
	if alarm := l.alarm(); alarm != "" {
		a.Warn("%s", alarm)
	}
	return PrintList(a, rows, func() *term.Table {
		t := queueTable(rows)
		fit(t, a.IO.Width())
		return t
	})
}

// fit makes a table of queues as wide as the terminal, if there is one.
func fit(t *term.Table, width int) {
	if width > 0 {
		t.Fit(width, "OLDEST", "UNACKED", "IN/s", "OUT/s", "CONSUMERS", "CLEARS IN")
	}
}

// filtered returns the queues that match a pattern, with the namespace or without.
func (a *App) filtered(shown []shownQueue, pattern string) []shownQueue {
	if found := matching(shown, pattern); len(found) > 0 {
		return found
	}
	if found := matching(shown, a.names().ContractQueue(pattern)); len(found) > 0 {
		return found
	}
	return ofProcess(shown, pattern)
}

// ofProcess returns the queues of single processes that a person means by the name of one, or the beginning of it and *.
func ofProcess(shown []shownQueue, name string) []shownQueue {
	longest := standsFor(shown, name)
	for _, q := range shown {
		if q.kind == kindProcess && q.stands == longest && q.name != name {
			q.name = name
			return []shownQueue{q}
		}
	}
	return nil
}

// standsFor returns which of the names of process queues stands for a queue; empty if none does. That of order.placed fits
// the queues of order.placed.v2, too: the longest counts.
func standsFor(among []shownQueue, name string) string {
	longest := ""
	for _, q := range among {
		begin, each := strings.CutSuffix(q.stands, "*")
		if q.kind == kindProcess && (name == q.stands || each && strings.HasPrefix(name, begin)) && len(q.stands) > len(longest) {
			longest = q.stands
		}
	}
	return longest
}

// hint says what to do about an error of the management API.
func hint(trouble error) string {
	if errors.Is(trouble, management.ErrRefused) {
		return "correct the password, or grant the tag with rabbitmqctl set_user_tags"
	}
	return "set broker.management_url (LEVERET_BROKER_MANAGEMENT_URL) to its address"
}

// noQueue is the error of a queue that the catalog does not have.
func (a *App) noQueue(name string, among []shownQueue) error {
	var names []string
	for _, q := range among {
		if names = append(names, q.name); q.service == name && name != "" {
			return Fail(ExitNotFound, fmt.Sprintf("%s queues '%s.*'", a.Name, a.names().ContractQueue(name)), "%s is a service, not a queue", name)
		}
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

// shownQueue is a queue of the catalog.
type shownQueue struct {
	name, kind string
	contracts  []string
	service    string
	of         string            // of dead letters: whose they are
	theirs     bool              // somebody else's dead-letter exchange fills it
	kept       leveret.Retention // of a stream
	stands     string            // of one process: its name, or what the catalog has for all processes, ending in *
}

// The kinds of queue.
const (
	kindWork        = "work"
	kindProcess     = "process" // of a single process
	kindDeadLetters = "dead_letters"
	kindRetry       = "retry"
	kindLost        = "lost"
	kindQuarantine  = "quarantine"
	kindKept        = "kept" // the stream of a kept event
	kindOther       = "other"
)

func (q shownQueue) describe() string {
	switch q.kind {
	case kindWork:
		return strings.Join(q.contracts, ", ") + " to " + q.service
	case kindProcess:
		return strings.Join(q.contracts, ", ") + " to one process of " + q.service
	case kindDeadLetters:
		return "dead letters of " + cmp.Or(q.service, "several services")
	case kindRetry:
		return "retry tier"
	case kindKept:
		return "stream that keeps " + strings.Join(q.contracts, ", ") + " for those who read it later"
	case kindQuarantine:
		return "messages that may have crashed " + q.service
	default:
		return "messages whose queue was deleted"
	}
}

// shownQueues returns the queues of the catalog: each work queue and its dead-letter queue, then those of
// [App.retryTiers], and the streams of kept events.
func (a *App) shownQueues() []shownQueue {
	var all []shownQueue
	seen := map[string]bool{}
	add := func(q shownQueue) {
		if !seen[q.name] {
			seen[q.name] = true
			all = append(all, q)
		}
	}
	theirs := a.theirDeadLetters()
	for _, q := range a.workQueues() {
		add(shownQueue{name: q.name, kind: kindWork, contracts: q.names(), service: q.service})
		switch of := theirs[q.deadLetters]; {
		case q.theirs:
			letters := shownQueue{name: q.deadLetters, kind: kindDeadLetters, service: q.service, of: q.name, theirs: true}
			for _, other := range of {
				letters.contracts = append(letters.contracts, other.names()...)
				if other.service != q.service {
					letters.service = ""
				}
				if other.name != q.name {
					letters.of = q.deadLetters
				}
			}
			add(letters)
		case q.deadLetters != "":
			add(shownQueue{name: q.deadLetters, kind: kindDeadLetters, contracts: q.names(), service: q.service, of: q.name})
		}
	}
	for _, q := range a.processQueues() {
		add(shownQueue{name: q.name, kind: kindProcess, contracts: q.names(), service: q.service, stands: q.name})
	}
	for _, q := range slices.Concat(a.retryTiers(), a.keptStreams()) {
		add(q)
	}
	return all
}

// live puts the queues of single processes that there are in the place of the names that stand for them, of those among
// which they are. Without the management API nothing is known of them.
func live(queues, among []shownQueue, managed map[string]management.Queue) []shownQueue {
	var all []shownQueue
	for _, q := range queues {
		if q.kind != kindProcess {
			all = append(all, q)
			continue
		}
		begin, each := strings.CutSuffix(q.name, "*")
		for _, name := range slices.Sorted(maps.Keys(managed)) {
			if found := q; (name == q.name || each && strings.HasPrefix(name, begin)) && standsFor(among, name) == q.stands {
				found.name = name
				all = append(all, found)
			}
		}
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
