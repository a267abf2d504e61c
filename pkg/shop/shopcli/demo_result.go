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
	"github.com/leveretmq/leveret/queues"
)

// A result is the ledger of a demo. Its JSON form is a stable interface.
type result struct {
	OK bool `json:"ok"`
	// Sent is the number of messages confirmed by the broker. Each of them is confirmed, cancelled, dead-lettered,
	// undecided or lost.
	Sent      int            `json:"sent"`
	Confirmed int            `json:"confirmed"`
	Cancelled map[string]int `json:"cancelled"`
	// DeadLettered counts by error code.
	DeadLettered map[string]int `json:"dead_lettered"`
	Undecided    int            `json:"undecided"`
	Lost         int            `json:"lost"`
	// ChargedTwice and ReservedTwice count orders.
	ChargedTwice  int `json:"charged_twice"`
	ReservedTwice int `json:"reserved_twice"`
	// Crashed reports whether the payment service was killed, as it should be.
	Crashed bool `json:"crashed"`
	// Redelivered counts messages that the broker delivered again, Retried those that the retry policy brought back.
	Redelivered int `json:"redelivered"`
	Retried     int `json:"retried"`
	// LeftInQueues counts messages left in queues, where there should be none.
	LeftInQueues int `json:"left_in_queues"`
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
	ChargedTwice  []string `json:"charged_twice"`
	ReservedTwice []string `json:"reserved_twice"`
}

const checked = "recomputed from the three services' own stores and the dead-letter queues, after all services had drained; " +
	"without using any of the sender's counters"

// judge draws up the ledger. The services must have drained; left is the number of messages left in their queues.
func (d *demonstration) judge(ctx context.Context, conn *leveret.Conn, orders []placement, sent []string, left int) (*result, error) {
	s := d.system
	dead, codes, err := d.deadLetters(ctx, conn)
	if err != nil {
		return nil, err
	}
	var valid, nonsense []string
	for _, o := range orders {
		if o.malformed() {
			nonsense = append(nonsense, o.id)
		} else {
			valid = append(valid, o.id)
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
	lost := slices.DeleteFunc(append(l.Lost, nonsense...), func(id string) bool { return dead[id] })
	r := &result{
		Sent: len(sent), Confirmed: l.Confirmed, Cancelled: l.Cancelled, DeadLettered: codes,
		Undecided: len(l.Undecided), Lost: len(lost), ChargedTwice: len(l.ChargedTwice), ReservedTwice: len(l.ReservedTwice),
		Crashed: d.crashed, Redelivered: l.Redelivered, Retried: l.Retried, LeftInQueues: left,
		Wrong:   append(l.Wrong, unexpected(orders, audit, dead)...),
		Latency: resultLatency{ms(l.Latency.P50), ms(l.Latency.P95), ms(l.Latency.P99), ms(l.Latency.Max)},
		Broker:  s.broker.Version(), Checked: checked,
		IDs: resultIDs{list(lost), list(l.Undecided), list(l.ChargedTwice), list(l.ReservedTwice)},
	}
	for _, o := range audit.Orders {
		r.ElapsedMS = max(r.ElapsedMS, o.DecidedAt.Sub(audit.Orders[0].SentAt).Milliseconds())
	}
	if d.tooSlow {
		r.Wrong = append(r.Wrong, fmt.Sprintf("the orders were not finished within %v", d.timeout))
	}
	if !d.crashed {
		r.Wrong = append(r.Wrong, "paymentd was not killed, because too few orders were finished in time")
	}
	if r.Wrong == nil {
		r.Wrong = []string{}
	}
	r.OK = r.Lost+r.Undecided+r.ChargedTwice+r.ReservedTwice+r.LeftInQueues+len(r.Wrong) == 0
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
		n, err := letters.Count(ctx, work)
		if errors.Is(err, deadletter.ErrNoQueue) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		_, err = letters.Peek(ctx, work, n, func(l *deadletter.Letter) bool {
			ids[l.ID] = true
			codes[l.Code]++
			return true
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return ids, codes, nil
}

// leftInQueues counts the messages in all queues except dead-letter queues.
func (d *demonstration) leftInQueues(ctx context.Context, conn *leveret.Conn) (int, error) {
	ctx, cancel := d.answering(ctx)
	defer cancel()
	left := 0
	for _, q := range everyQueue(conn.Names()) {
		if strings.HasSuffix(q.Name, topology.DeadLetterSuffix) {
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
	for _, s := range queues.Catalog.Services() {
		parts = append(parts, s.Topology(n, topology.Classic))
	}
	var all topology.Topology
	all.Add(parts...)
	return all.Queues
}

// unexpected reports orders that did not end as expected, and malformed bodies that became orders.
func unexpected(orders []placement, audit order.Audit, dead map[string]bool) []string {
	ends := make(map[string]order.Status, len(audit.Orders))
	for _, o := range audit.Orders {
		ends[o.OrderID] = order.Status{State: o.State, Reason: o.Reason}
	}
	var wrong []string
	for _, o := range orders {
		end, known := ends[o.id]
		switch {
		case o.malformed() && known:
			wrong = append(wrong, fmt.Sprintf("message %s is malformed, but became an order that is %s", o.id, end))
		case !o.malformed() && dead[o.id]:
			wrong = append(wrong, fmt.Sprintf("order %s was dead-lettered, but should be %s", o.id, o.want))
		case !o.malformed() && known && end.Final() && end != o.want:
			wrong = append(wrong, fmt.Sprintf("order %s is %s, but should be %s", o.id, end, o.want))
		}
		delete(ends, o.id)
	}
	for _, id := range slices.Sorted(maps.Keys(ends)) {
		wrong = append(wrong, fmt.Sprintf("order %s was never sent", id))
	}
	return wrong
}

// print prints the ledger as a table or as JSON.
func (r *result) print(app *cli.App) error {
	if app.Format() != cli.FormatText {
		return app.PrintJSON(r)
	}
	t := term.NewTable("LEDGER", "ORDERS#", "")
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
	row("sent", r.Sent, "confirmed by the broker")
	row("confirmed", r.Confirmed, "paid and reserved")
	for _, reason := range slices.Sorted(maps.Keys(r.Cancelled)) {
		row("cancelled", r.Cancelled[reason], reason)
	}
	for _, code := range slices.Sorted(maps.Keys(r.DeadLettered)) {
		row("dead-lettered", r.DeadLettered[code], code)
	}
	redelivered := "messages delivered again"
	if r.Crashed {
		redelivered += " after the crash"
	}
	row("redelivered", r.Redelivered, redelivered)
	if r.Retried > 0 {
		row("retried", r.Retried, "messages brought back by the retry policy")
	}
	zero("undecided", r.Undecided, r.IDs.Undecided)
	zero("lost", r.Lost, r.IDs.Lost)
	zero("charged twice", r.ChargedTwice, r.IDs.ChargedTwice)
	zero("reserved twice", r.ReservedTwice, r.IDs.ReservedTwice)
	if r.LeftInQueues > 0 {
		row("left in queues", r.LeftInQueues, "must be 0")
	}
	if err := app.PrintTable(t); err != nil {
		return err
	}
	for _, w := range r.Wrong {
		if err := app.Printf("wrong: %s\n", w); err != nil {
			return err
		}
	}
	return app.Printf("\nlatency   p50 %.0f ms, p95 %.0f ms, p99 %.0f ms, from sending an order to its decision\nchecked   %s\n",
		r.Latency.P50MS, r.Latency.P95MS, r.Latency.P99MS, r.Checked)
}
