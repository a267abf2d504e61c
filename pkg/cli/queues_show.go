package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/management"
)

// queueDetails is what `queues show` prints. What only the management API knows is nil without it.
type queueDetails struct {
	queueRow

	Type           string          `json:"type,omitempty"`
	State          string          `json:"state,omitempty"`
	Node           string          `json:"node,omitempty"`
	Members        []string        `json:"members,omitempty"`
	Online         []string        `json:"online,omitempty"`
	Arguments      map[string]any  `json:"arguments"`
	Policy         string          `json:"policy,omitempty"`
	OperatorPolicy string          `json:"operator_policy,omitempty"`
	Effective      map[string]any  `json:"policy_definition,omitempty"`
	Bindings       []queueBinding  `json:"bindings"`
	ConsumedBy     []queueConsumer `json:"consumed_by"`
}

type queueBinding struct {
	Exchange   string `json:"exchange"`
	RoutingKey string `json:"routing_key"`
}

func (a *App) queuesShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show QUEUE",
		Short: "Show one queue: its numbers, arguments, policy, bindings, and which processes consume it",
		Long: "Show one queue: its numbers, type, arguments, policies and bindings, and the processes that consume it. It takes no\n" +
			"message and changes nothing.\n\n" +
			"READY and the number of consumers are the broker's. Arguments, policies, bindings, and consumers of any kind come from its\n" +
			"management API. What processes are handling, and how it ended, they say themselves; so Leveret's processes are listed\n" +
			"without the management API, too.",
		Example:           fmt.Sprintf("  %[1]s queues show %[2]s\n  %[1]s queues show %[2]s -o json", a.Name, a.someWorkQueue()),
		Args:              Arguments(1, 1),
		ValidArgsFunction: a.completeQueue(a.shownQueues),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.showQueue(cmd.Context(), args[0]) },
	}
}

func (a *App) showQueue(ctx context.Context, name string) error {
	shown := a.shownQueues()
	q := shownQueue{name: name, kind: kindOther}
	for _, other := range shown {
		if other.name == name || other.name == a.names().ContractQueue(name) && q.kind == kindOther {
			q = other
		}
	}
	if found := ofProcess(shown, name); q.kind == kindOther && len(found) > 0 {
		q = found[0]
	}
	l, err := a.look(ctx, []shownQueue{q}, queuesOptions{every: interval(watchEvery)})
	if err != nil {
		return err
	}
	defer l.close(ctx)
	rows, err := l.sample(ctx)
	if err != nil {
		return a.explain(err)
	}
	if len(rows) == 0 {
		if l.listing.queues == nil {
			err := cmp.Or(l.listing.err, errors.New("the management API has not answered"))
			return Fail(ExitError, hint(err), "%s is a queue of one process, which only the management API can show: %w", q.name, err)
		}
		return Fail(ExitNotFound, "start the service "+q.service, "no process has the queue %s", q.name)
	}
	d := &queueDetails{queueRow: rows[0]}
	switch {
	case d.Declared:
	case q.kind == kindOther:
		return a.noQueue(name, shown)
	default:
		return Fail(ExitNotFound, "start "+declarers(q)+", which declares it", "the broker has no queue %s yet", q.name)
	}
	l.warnOfTrouble()
	if alarm := l.alarm(); alarm != "" {
		a.Warn("%s", alarm)
	}
	var known []management.Consumer
	if l.listing.queues != nil {
		if known, err = d.manage(ctx, l); err != nil {
			return a.explain(err)
		}
	}
	// The API may list none of a queue that has some: it is late, or a node that collects no metrics has none to list.
	listed := l.listing.queues != nil && (len(known) > 0 || d.Consumers == nil || *d.Consumers == 0)
	d.ConsumedBy = consumersOf(q.name, known, l.answers[q.service], listed)
	if a.Format() != FormatText {
		return a.PrintJSON(d)
	}
	return a.printQueue(d)
}

func declarers(q shownQueue) string {
	if q.service == "" {
		return "a service that uses it"
	}
	return "the service " + q.service
}

// manage adds what the management API knows. That the API has not heard of the queue yet is no error.
func (d *queueDetails) manage(ctx context.Context, l *look) ([]management.Consumer, error) {
	vhost := l.app.settings.vhost()
	q, err := l.api.Details(ctx, vhost, d.Name)
	if errors.Is(err, management.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	bindings, err := l.api.Bindings(ctx, vhost, d.Name)
	if err != nil && !errors.Is(err, management.ErrNotFound) {
		return nil, err
	}
	d.Type, d.State, d.Node, d.Members, d.Online = q.Type, q.State, q.Node, q.Members, q.Online
	d.Arguments, d.Policy, d.OperatorPolicy, d.Effective = q.Arguments, q.Policy, q.OperatorPolicy, q.Effective.Value
	d.Bindings = []queueBinding{}
	for _, b := range bindings {
		d.Bindings = append(d.Bindings, queueBinding{b.Exchange, b.RoutingKey})
	}
	return q.Consumers, nil
}

func (a *App) printQueue(d *queueDetails) error {
	var b strings.Builder
	line := func(label, text string) {
		fmt.Fprintf(&b, "%s %s\n", a.out.Paint(term.Dim, fmt.Sprintf("%-10s", label)), term.OneLine(text))
	}
	fmt.Fprintf(&b, "%s\n", a.out.Paint(term.Bold, term.OneLine(d.Name)))
	if d.kind == kindOther {
		line("kind", "not in the catalog")
	} else {
		line("kind", d.describe())
	}
	line("messages", d.numbers())
	if d.Oldest != nil {
		line("oldest", secondsText(d.Oldest)+oldestNotes[d.OldestFrom])
	}
	if d.Type != "" {
		line("type", d.kindOfQueue())
		line("arguments", pairs(d.Arguments))
		line("policy", d.policies())
		var bindings []string
		for _, bound := range d.Bindings {
			bindings = append(bindings, strings.TrimSpace(bound.Exchange+" "+bound.RoutingKey))
		}
		line("bindings", list(bindings))
	}
	consumers := whole(d.Consumers)
	if d.abandoned() {
		consumers = a.out.Paint(term.Red, "0, no consumers: "+declarers(d.shownQueue)+" does not run, or is paused")
	}
	fmt.Fprintf(&b, "%s %s\n", a.out.Paint(term.Dim, fmt.Sprintf("%-10s", "consumers")), consumers)
	if len(d.ConsumedBy) > 0 {
		b.WriteByte('\n')
		if err := consumerTable(d.ConsumedBy, time.Now()).Write(&b, a.out, a.IO.Width()); err != nil {
			return err
		}
	}
	return a.Printf("%s", b.String())
}

var oldestNotes = map[string]string{
	oldestBroker:    ", at the head of the queue",
	oldestInFlight:  ", being handled",
	oldestLastTaken: " or less: so old is the message that was taken last",
}

// numbers are the queue's numbers in a sentence.
func (d *queueDetails) numbers() string {
	parts := []string{whole(d.Ready) + " ready"}
	if d.kind == kindKept {
		parts[0] = whole(d.Ready) + " kept, as of some seconds ago"
	}
	if d.Unacked != nil {
		parts = append(parts, whole(d.Unacked)+" unacked")
	}
	if d.In != nil {
		parts = append(parts, "in "+rateText(d.In)+"/s")
	}
	if d.Out != nil {
		parts = append(parts, "out "+rateText(d.Out)+"/s")
	}
	switch {
	case d.grows:
		parts = append(parts, "grows")
	case d.ClearsIn != nil:
		parts = append(parts, "clears in "+secondsText(d.ClearsIn))
	}
	return strings.Join(parts, ", ")
}

func (d *queueDetails) kindOfQueue() string {
	text := d.Type + " on " + d.Node
	if len(d.Members) > 0 {
		text += fmt.Sprintf(", %d of %d members online", len(d.Online), len(d.Members))
	}
	if d.State != "" && d.State != "running" {
		text += ", " + d.State
	}
	return text
}

func (d *queueDetails) policies() string {
	var parts []string
	if d.Policy != "" {
		parts = append(parts, d.Policy)
	}
	if d.OperatorPolicy != "" {
		parts = append(parts, d.OperatorPolicy+" (operator)")
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ") + ": " + pairs(d.Effective)
}

// pairs writes a map for people, sorted.
func pairs(m map[string]any) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s=%v", name, m[name]))
	}
	return list(all)
}
