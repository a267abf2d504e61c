package shopcli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A result is the ledger of a demo. Its JSON form is a stable interface.
type result struct {
	OK bool `json:"ok"`
	// Transport is how the services called each other: default or amqp.
	Transport string `json:"transport"`
	// Sent is the number of orders that got an answer. Each of them was refused, or is confirmed, cancelled,
	// dead-lettered, undecided or lost: those that were not refused were confirmed by the broker.
	Sent int `json:"sent"`
	// Refused counts orders that the REST API has refused, by error code.
	Refused map[string]int `json:"refused"`
	// Repeated counts how often customers placed an order again, because they got no answer or wanted to.
	Repeated  int            `json:"repeated"`
	Confirmed int            `json:"confirmed"`
	Cancelled map[string]int `json:"cancelled"`
	// DeadLettered counts by error code.
	DeadLettered map[string]int `json:"dead_lettered"`
	// Undecided counts the orders that are not finished, and Overdue those among them whose time is over.
	Undecided int `json:"undecided"`
	Overdue   int `json:"overdue"`
	Lost      int `json:"lost"`
	// ChargedTwice and ReservedTwice count orders.
	ChargedTwice  int `json:"charged_twice"`
	ReservedTwice int `json:"reserved_twice"`
	// Users is the number of customers who registered, according to the stores.
	Users int `json:"users"`
	// Crashed reports whether the services were killed, as they should be; Killed names them.
	Crashed bool     `json:"crashed"`
	Killed  []string `json:"killed"`
	// InFlight counts the orders that were accepted and not finished when a service was killed, for all kills together.
	InFlight int `json:"in_flight"`
	// Leaked counts the lines of the services' logs that hold a password, a card token or a token of a session.
	Leaked int `json:"leaked"`
	// LeftInQueues counts messages left in queues, where there should be none.
	LeftInQueues int `json:"left_in_queues"`
	// LeftInOutboxes counts messages that were stored and not sent, where there should be none.
	LeftInOutboxes int `json:"left_in_outboxes"`
	// Wrong lists all other inconsistencies, one sentence each.
	Wrong     []string      `json:"wrong"`
	Latency   resultLatency `json:"latency"`
	ElapsedMS int64         `json:"elapsed_ms"`
	Broker    string        `json:"broker"`
	Checked   string        `json:"checked"`
	IDs       resultIDs     `json:"ids"`
}

// resultLatency is measured from sending an order to its decision.
type resultLatency struct {
	P50MS float64 `json:"p50_ms"`
	P95MS float64 `json:"p95_ms"`
	P99MS float64 `json:"p99_ms"`
	MaxMS float64 `json:"max_ms"`
}

// resultIDs lists the orders behind the counts that should be zero.
type resultIDs struct {
	Lost          []string `json:"lost"`
	Undecided     []string `json:"undecided"`
	Overdue       []string `json:"overdue"`
	ChargedTwice  []string `json:"charged_twice"`
	ReservedTwice []string `json:"reserved_twice"`
}

const checked = "recomputed from the services' own stores and the dead-letter queues, after all services had drained; " +
	"without using any of the sender's counters"

// judge draws up the ledger. The services must have drained; left is the number of messages left in their queues, and
// listed what was wrong with the customers' lists of orders.
func (d *demonstration) judge(ctx context.Context, conn *leveret.Conn, p *placing, left int, listed []string) (*result, error) {
	s := d.system
	dead, codes, err := d.deadLetters(ctx, conn)
	if err != nil {
		return nil, err
	}
	var valid, nonsense []string
	refused, repeated, sent := map[string]int{}, 0, 0
	for _, o := range p.orders {
		if o.id != "" {
			sent++
		}
		repeated += max(o.tries-1, 0)
		switch {
		case o.refusal != nil:
			refused[o.refusal.Code]++
		case o.id == "": // not placed in time
		case o.direct:
			nonsense = append(nonsense, o.id)
		default:
			valid = append(valid, o.id)
		}
		if o.twice && o.refusal == nil && !o.direct {
			repeated++
		}
	}
	l, err := ledger.Read(ctx, s.paths(), valid)
	if err != nil {
		return nil, err
	}
	audit, err := order.ReadAudit(ctx, s.paths().Order)
	if err != nil {
		return nil, err
	}
	users, wrongUsers, err := d.checkUsers(ctx)
	if err != nil {
		return nil, err
	}
	leaked, err := d.leaked()
	if err != nil {
		return nil, err
	}
	lost := slices.DeleteFunc(append(l.Lost, nonsense...), func(id string) bool { return dead[id] })
	r := &result{
		Transport: d.transport, Sent: sent, Refused: refused, Repeated: repeated,
		Confirmed: l.Confirmed, Cancelled: l.Cancelled, DeadLettered: codes,
		Undecided: len(l.Undecided), Overdue: len(l.Overdue), Lost: len(lost), ChargedTwice: len(l.ChargedTwice), ReservedTwice: len(l.ReservedTwice),
		Users: users, Crashed: len(d.killed) == len(d.plan), Killed: list(d.killed),
		InFlight: d.inFlight, Leaked: leaked, LeftInQueues: left, LeftInOutboxes: l.Unsent,
		Wrong:   slices.Concat(l.Wrong, p.wrong, listed, wrongUsers, unexpected(p.orders, audit, dead)),
		Latency: resultLatency{ms(l.Latency.P50), ms(l.Latency.P95), ms(l.Latency.P99), ms(l.Latency.Max)},
		Broker:  s.broker.Version(), Checked: checked,
		IDs: resultIDs{list(lost), list(l.Undecided), list(l.Overdue), list(l.ChargedTwice), list(l.ReservedTwice)},
	}
	for _, o := range audit.Orders {
		r.ElapsedMS = max(r.ElapsedMS, o.DecidedAt.Sub(audit.Orders[0].SentAt).Milliseconds())
	}
	if d.tooSlow {
		r.Wrong = append(r.Wrong, fmt.Sprintf("the orders were not finished within %v", d.timeout))
	}
	for _, k := range d.plan[len(d.killed):] {
		r.Wrong = append(r.Wrong, k.name+"d was not killed, because too few orders were finished in time")
	}
	if r.Wrong == nil {
		r.Wrong = []string{}
	}
	r.OK = r.Lost+r.Undecided+r.ChargedTwice+r.ReservedTwice+r.Leaked+r.LeftInQueues+r.LeftInOutboxes+len(r.Wrong) == 0
	return r, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func list(ids []string) []string { return append([]string{}, ids...) }

// deadLetters reads all dead-letter queues and returns the ids in them and the count for each error code.
func (d *demonstration) deadLetters(ctx context.Context, conn *leveret.Conn) (ids map[string]bool, codes map[string]int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*d.patience, errNoAnswer) // there may be many
	defer cancel()
	ids, codes = map[string]bool{}, map[string]int{}
	letters := deadletter.New(conn)
	for _, q := range everyQueue(conn.Names()) {
		work, isDLQ := strings.CutSuffix(q.Name, topology.DeadLetterSuffix)
		if !isDLQ {
			continue
		}
		n, err := letters.Count(ctx, letters.DeadLetters(work))
		if errors.Is(err, deadletter.ErrNoQueue) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		_, err = letters.Peek(ctx, letters.DeadLetters(work), n, func(l *deadletter.Letter) bool {
			if !ids[l.ID] { // one may be there twice, if a service was killed just before it acked
				ids[l.ID] = true
				codes[l.Code]++
			}
			return true
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return ids, codes, nil
}

// leftInQueues counts the messages in all queues except dead-letter queues, and streams, from which none is taken.
func (d *demonstration) leftInQueues(ctx context.Context, conn *leveret.Conn) (int, error) {
	ctx, cancel := d.answering(ctx)
	defer cancel()
	left := 0
	for _, q := range everyQueue(conn.Names()) {
		if strings.HasSuffix(q.Name, topology.DeadLetterSuffix) || isStream(q) {
			continue
		}
		state, err := conn.Rabbit().Inspect(ctx, q.Name)
		switch {
		case errors.Is(err, rabbit.ErrNotFound): // a request queue that has expired
		case err != nil:
			return 0, err
		default:
			left += state.Ready
		}
	}
	return left, nil
}

func everyQueue(n topology.Names) []topology.Queue {
	var parts []topology.Topology
	for _, s := range Catalog.Services() {
		parts = append(parts, s.Topology(n, topology.Classic))
	}
	var all topology.Topology
	all.Add(parts...)
	return all.Queues
}

// isStream reports whether a queue is a stream, in which messages wait for nobody.
func isStream(q topology.Queue) bool { return q.Args["x-queue-type"] == string(topology.Stream) }

// unexpected reports orders that did not end as expected, and malformed bodies that became orders.
func unexpected(orders []placed, audit order.Audit, dead map[string]bool) []string {
	ends := make(map[string]order.Status, len(audit.Orders))
	for _, o := range audit.Orders {
		ends[o.OrderID] = order.Status{State: o.State, Reason: o.Reason}
	}
	var wrong []string
	for _, o := range orders {
		end, known := ends[o.id]
		switch {
		case o.direct && known:
			wrong = append(wrong, fmt.Sprintf("message %s is malformed, but became an order that is %s", o.id, end))
		case !o.direct && dead[o.id]:
			wrong = append(wrong, fmt.Sprintf("order %s was dead-lettered, but should be %s", o.id, o.wanted()))
		case known && end.Final() && !slices.Contains(o.want, end):
			wrong = append(wrong, fmt.Sprintf("order %s is %s, but should be %s", o.id, end, o.wanted()))
		}
		delete(ends, o.id)
	}
	if slices.ContainsFunc(orders, func(o placed) bool { return o.id == "" }) {
		return wrong // the rest may be orders that got no answer
	}
	for _, id := range slices.Sorted(maps.Keys(ends)) {
		wrong = append(wrong, fmt.Sprintf("order %s was never placed", id))
	}
	return wrong
}

// wanted returns the statuses in which an order may end: "confirmed or cancelled (requested)".
func (p placement) wanted() string {
	var all []string
	for _, s := range p.want {
		all = append(all, s.String())
	}
	return strings.Join(all, " or ")
}

// print prints the ledger as a table or as JSON.
func (r *result) print(app *cli.App) error {
	if app.Format() != cli.FormatText {
		return app.PrintJSON(r)
	}
	t := term.NewTable("LEDGER", "COUNT#", "")
	row := func(what string, n int, note string) {
		t.Add(term.Plain(what), term.Plain(fmt.Sprint(n)), term.Plain(note))
	}
	zero := func(what string, n int, ids []string) {
		note := "must be 0"
		if n > 0 {
			note += ": " + strings.Join(ids[:min(len(ids), 3)], ", ")
		}
		row(what, n, note)
	}
	row("customers", r.Users, "registered, each known once to user and to auth")
	row("sent", r.Sent, "orders: accepted, and confirmed by the broker, or refused")
	for _, code := range slices.Sorted(maps.Keys(r.Refused)) {
		row("refused", r.Refused[code], code+", by the REST API")
	}
	row("confirmed", r.Confirmed, "paid and reserved")
	for _, reason := range slices.Sorted(maps.Keys(r.Cancelled)) {
		row("cancelled", r.Cancelled[reason], reason)
	}
	for _, code := range slices.Sorted(maps.Keys(r.DeadLettered)) {
		row("dead-lettered", r.DeadLettered[code], code)
	}
	row("in flight", r.InFlight, "orders that were under way when services were killed")
	if r.Repeated > 0 {
		row("placed again", r.Repeated, "under the same Idempotency-Key")
	}
	zero("undecided", r.Undecided, r.IDs.Undecided)
	zero("overdue", r.Overdue, r.IDs.Overdue)
	zero("lost", r.Lost, r.IDs.Lost)
	zero("charged twice", r.ChargedTwice, r.IDs.ChargedTwice)
	zero("reserved twice", r.ReservedTwice, r.IDs.ReservedTwice)
	zero("secrets in logs", r.Leaked, nil)
	if r.LeftInQueues > 0 {
		row("left in queues", r.LeftInQueues, "must be 0")
	}
	if r.LeftInOutboxes > 0 {
		row("left in outboxes", r.LeftInOutboxes, "must be 0")
	}
	if err := app.PrintTable(t); err != nil {
		return err
	}
	for _, w := range r.Wrong[:min(len(r.Wrong), 20)] {
		if err := app.Printf("wrong: %s\n", w); err != nil {
			return err
		}
	}
	if more := len(r.Wrong) - 20; more > 0 {
		if err := app.Printf("wrong: and %d more\n", more); err != nil {
			return err
		}
	}
	return app.Printf("\nlatency   p50 %.0f ms, p95 %.0f ms, p99 %.0f ms, from sending an order to its decision\ntransport %s\nkilled    %s\nchecked   %s\n",
		r.Latency.P50MS, r.Latency.P95MS, r.Latency.P99MS, r.Transport, counted(r.Killed), r.Checked)
}

// counted returns names with how often each is there: "order, payment 3×".
func counted(names []string) string {
	times := make(map[string]int)
	for _, name := range names {
		times[name]++
	}
	var said []string
	for _, name := range slices.Sorted(maps.Keys(times)) {
		if times[name] > 1 {
			name = fmt.Sprintf("%s %d×", name, times[name])
		}
		said = append(said, name)
	}
	return strings.Join(said, ", ")
}
