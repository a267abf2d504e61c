package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/inventory"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// TestInterleavings runs the three services with one order after the other, and delivers the messages of each order in
// every possible sequence. The customer cancels at every possible moment, and the payment service's first answer may be
// lost.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		order     queues.PlaceOrderCommand
		loss      bool
		confirmed bool
		cancelled []string // the reasons
	}{
		"in stock":     {inStock, true, true, []string{queues.CancelRequested}},
		"out of stock": {outOfStock, false, false, []string{queues.CancelOutOfStock, queues.CancelRequested}},
		"declined":     {declined, true, false, []string{queues.CancelDeclined, queues.CancelRequested}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.loss = tc.loss
			w.sequences(t, tc.order, tc.confirmed, tc.cancelled)
		})
	}
}

// TestInterleavingsWithFaults also sends and delivers messages again, and interrupts handlers in their transactions, by
// chance. In half of the runs time passes instead of the customers cancelling: half of an order's limit, the limit, and the
// time after which its cancellation is announced once more.
func TestInterleavingsWithFaults(t *testing.T) {
	t.Parallel()
	const orders = 200
	for _, seed := range seeds(t, 4) {
		t.Run(fmt.Sprint("SEED=", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.choose = rand.New(rand.NewPCG(seed, 9)).IntN
			w.loss, w.faults, w.timed = true, true, seed%2 == 1
			l := w.some(t, orders)
			t.Logf("%d confirmed, cancelled: %v", l.Confirmed, l.Cancelled)
			require.Positive(t, l.Confirmed)
			require.Len(t, l.Cancelled, 3)
			if w.timed {
				require.Positive(t, l.Cancelled[queues.CancelExpired])
			}
		})
	}
}

// TestLosses drops one message on its way to one service, by chance, of each order. Time passes, so the order ends all the same,
// and the books balance. SEED repeats a run that has failed.
func TestLosses(t *testing.T) {
	t.Parallel()
	const orders = 150
	for _, seed := range seeds(t, 2) {
		t.Run(fmt.Sprint("SEED=", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.choose = rand.New(rand.NewPCG(seed, 19)).IntN
			w.loss, w.faults, w.timed, w.dropped = true, true, true, map[string]int{}
			l := w.some(t, orders)
			t.Logf("%d confirmed, cancelled: %v, dropped: %v", l.Confirmed, l.Cancelled, w.dropped)
			for _, name := range []string{
				"order.placed to payment", "inventory.reserve to inventory", "payment.captured to order",
				"order.cancelled to payment", "order.cancelled to inventory",
			} {
				require.Positive(t, w.dropped[name], name)
			}
		})
	}
}

// sequences has an order take every possible course, each time anew, and checks how it ended: whether some were confirmed, and for
// which reasons others were cancelled. Under the race detector it takes some courses, by chance.
func (w *world) sequences(t *testing.T, order queues.PlaceOrderCommand, confirmed bool, cancelled []string) {
	t.Helper()
	var every everyChoice
	w.choose = every.choose
	more := every.advance
	if testmain.Race {
		w.choose = rand.New(rand.NewPCG(1, 1)).IntN
		more = func() bool { return len(w.orders) < 50 }
	}
	for w.run(t, order); more(); {
		w.run(t, order)
	}
	l := w.check(t)
	reasons := slices.Collect(maps.Keys(l.Cancelled))
	t.Logf("%d sequences: %d confirmed, cancelled: %v", l.Orders, l.Confirmed, l.Cancelled)
	if testmain.Race {
		require.Subset(t, cancelled, reasons)
		return
	}
	require.Equal(t, confirmed, l.Confirmed > 0)
	require.ElementsMatch(t, cancelled, reasons)
}

// some runs n orders of all kinds, as w chooses, and checks the books.
func (w *world) some(t *testing.T, n int) Ledger {
	t.Helper()
	kinds := []queues.PlaceOrderCommand{inStock, inStock, inStock, scarce, outOfStock, declined}
	for range n {
		w.run(t, kinds[w.choose(len(kinds))])
	}
	return w.check(t)
}

// seeds returns n seeds, the same each time, or the one in SEED.
func seeds(t *testing.T, n int) []uint64 {
	t.Helper()
	if given := os.Getenv("SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
		return []uint64{seed}
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i)
	}
	return all
}

// TestTimeLimit has half of an order's time be over at every possible moment, and in other runs all of it, in place of the
// customer's cancellation. Where all of it is over, half of it was before the payment was asked for.
func TestTimeLimit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		order     queues.PlaceOrderCommand
		checks    int
		confirmed bool
		cancelled []string // the reasons
	}{
		"half, in stock": {inStock, 1, true, nil},
		"half, declined": {declined, 1, false, []string{queues.CancelDeclined}},
		"in stock":       {inStock, 2, true, []string{queues.CancelExpired}},
		"declined":       {declined, 2, false, []string{queues.CancelDeclined, queues.CancelExpired}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.timed, w.checks = true, tc.checks
			w.sequences(t, tc.order, tc.confirmed, tc.cancelled)
		})
	}
}

// Kinds of orders.
var (
	inStock    = queues.PlaceOrderCommand{CardToken: payment.TokenVisa, Lines: one(inventory.SKUPlenty)}
	scarce     = queues.PlaceOrderCommand{CardToken: payment.TokenVisa, Lines: one(inventory.SKUScarce)}
	outOfStock = queues.PlaceOrderCommand{CardToken: payment.TokenVisa, Lines: one(inventory.SKUSoldOut)}
	declined   = queues.PlaceOrderCommand{CardToken: payment.TokenDeclined, Lines: one(inventory.SKUPlenty)}
)

func one(sku string) []queues.OrderLine {
	return []queues.OrderLine{{SKU: sku, Quantity: 1, UnitPrice: queues.Money{Amount: 100, Currency: "EUR"}}}
}

// A world is the three services with their stores, and one order at a time that is on its way through them.
type world struct {
	t        *testing.T
	paths    Paths
	parts    map[string]part              // by service
	handlers map[string]*leveret.Handlers // by service
	choose   func(n int) int              // returns a number below n
	loss     bool                         // an answer of the payment service may be lost
	faults   bool                         // transactions fail, and confirms and acks are lost
	timed    bool                         // time passes, and no customer cancels
	checks   int                          // how often that is, without faults: twice, and the first time is at once; or once
	dropped  map[string]int               // what was dropped; nil if nothing is to be
	orders   []string
	traces   map[string][]string // what was done, by order

	pending   []pending
	taken     int    // steps so far
	last      string // the service that took the last one; empty if that matters to all
	known     int    // when the order service got the order: the number of steps by then; -1 before that
	lost      bool   // an answer was lost
	cancelled bool   // the customer has an answer to the cancellation
	calling   bool   // the order service waits for payment
	drops     bool   // a message of this order is to be dropped
	refusing  bool   // a database refuses a message
	timer     string // the next check of the order
	checked   int    // how often its time has come
	set       int    // when it was stored: the number of steps by then
}

// part is a service that keeps something.
type part struct {
	service *leveret.Service
	store   *store.Store
	outbox  *outbox.Outbox
}

// pending is a message in a queue.
type pending struct {
	service string
	message *leveret.Message
	since   int // the number of steps by then
}

// newWorld opens the services.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t:     t,
		paths: Paths{Order: shoptest.Source(t, "order"), Inventory: shoptest.Source(t, "inventory"), Payment: shoptest.Source(t, "payment")},
		parts: map[string]part{}, handlers: map[string]*leveret.Handlers{}, traces: map[string][]string{},
	}
	for _, s := range queues.Catalog.Services() {
		w.handlers[s.Name()] = leveret.NewHandlers(s, leveret.HandlersConfig{})
	}
	orders, err := order.OpenStore(t.Context(), w.paths.Order)
	require.NoError(t, err)
	stock, err := inventory.OpenStore(t.Context(), w.paths.Inventory)
	require.NoError(t, err)
	payments, err := payment.OpenStore(t.Context(), w.paths.Payment)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, orders.Close())
		require.NoError(t, stock.Close())
		require.NoError(t, payments.Close())
	})
	for _, p := range []part{
		{queues.Order, orders.Store, shoptest.Outbox(t, orders.Store)},
		{queues.Inventory, stock.Store, shoptest.Outbox(t, stock.Store)},
		{queues.Payment, payments.Store, shoptest.Outbox(t, payments.Store)},
	} {
		w.parts[p.service.Name()] = p
	}
	order.New(orders, w.parts["order"].outbox, w, order.Config{Logger: slog.New(slog.DiscardHandler)}).Register(w.handlers["order"])
	inventory.New(w.parts["inventory"].outbox).Register(w.handlers["inventory"])
	payment.New(payments, w.parts["payment"].outbox, payment.Processor{}).Register(w.handlers["payment"])
	return w
}

// relay sends what a service has stored.
func (w *world) relay(service string) {
	p := w.parts[service]
	shoptest.Relay(w.t, p.store, p.outbox, p.service, w)
}

// Send puts a message into the queues of the services that take it.
func (w *world) Send(_ context.Context, m *leveret.Message) error {
	for _, s := range queues.Catalog.ServicesWith(m.Contract, m.Contract.Spec().Kind.ServerRole()) {
		sent := *m
		if w.drops && w.choose(5) == 0 {
			w.drops = false
			w.dropped[m.Contract.Spec().Name+" to "+s.Name()]++
			w.trace("%s to %s is lost", m.Contract.Spec().Name, s.Name())
			continue
		}
		w.pending = append(w.pending, pending{s.Name(), &sent, w.taken})
		if w.faults && w.choose(6) == 0 { // its confirm was lost, and the relay sends it again
			w.pending = append(w.pending, pending{s.Name(), &sent, w.taken})
		}
	}
	return nil
}

// Call asks the payment service. Other messages may be delivered before it is asked and before its answer arrives, and
// the answer may be lost; without faults, that happens once.
func (w *world) Call(ctx context.Context, m *leveret.Message) error {
	if w.known < 0 {
		w.known = w.taken
		if w.checks == 2 {
			w.timers(ctx)[0].take()
		}
	}
	defer func(before bool) { w.calling = before }(w.calling)
	w.calling = true
	w.meanwhile(ctx)
	if w.faults && w.choose(6) == 0 {
		return leveret.ErrNotConnected
	}
	answer := &leverettest.StubCaller{}
	answer.Serve(w.handlers["payment"])
	err := answer.Call(ctx, m)
	w.meanwhile(ctx)
	if w.loss && (w.faults || !w.lost) && w.choose(2) == 1 {
		w.lost = true
		w.trace("the answer is lost")
		return leveret.ErrUnconfirmed
	}
	return err
}

// meanwhile takes any number of steps, without placing the order a second time. Without faults, it takes none once an
// answer was lost, which would only repeat what was tried.
func (w *world) meanwhile(ctx context.Context) {
	for w.last = ""; w.faults || !w.lost; {
		others := slices.DeleteFunc(w.steps(ctx), func(s step) bool { return s.what == "order.place" })
		i := w.choose(len(others) + 1)
		if i == len(others) {
			break
		}
		w.take(others[i])
	}
	w.last = ""
}

// step is something that can happen next.
type step struct {
	what, service string
	since         int
	take          func()
}

// asks reports whether payment takes part in a step of the order service.
func (s step) asks() bool { return s.what == "order.place" || s.what == "order.check" }

func (w *world) take(s step) {
	w.taken++
	w.last = s.service
	s.take()
	if s.asks() {
		w.last = ""
	}
}

// steps returns everything that can happen next.
func (w *world) steps(ctx context.Context) []step {
	var all []step
	for _, p := range w.pending {
		all = append(all, step{p.message.Contract.Spec().Name, p.service, p.since, func() { w.deliver(ctx, p) }})
	}
	if w.timed {
		all = append(all, w.timers(ctx)...)
	} else if w.known >= 0 && !w.cancelled && (!w.faults || !w.calling && len(w.pending) == 0 || w.choose(8) == 0) { // not too soon, if by chance
		all = append(all, step{"order.cancel", "order", w.known, func() { w.cancel(ctx) }})
	}
	// Steps of two services can be swapped if neither caused the other. Of such sequences, one is enough: the one in
	// which the service that comes first in the alphabet takes its step first.
	if rest := slices.DeleteFunc(slices.Clone(all), w.swapped); !w.faults && len(rest) > 0 {
		return rest
	}
	return all
}

func (w *world) swapped(s step) bool {
	return !s.asks() && s.since < w.taken && s.service < w.last
}

func (w *world) id() string { return w.orders[len(w.orders)-1] }

func (w *world) trace(format string, args ...any) {
	w.traces[w.id()] = append(w.traces[w.id()], fmt.Sprintf(format, args...))
}

// deliver delivers a message, and takes it out of its queue if it is acked.
func (w *world) deliver(ctx context.Context, p pending) {
	w.pending = slices.DeleteFunc(w.pending, func(o pending) bool { return o == p })
	received := *p.message
	var o leveret.Outcome
	w.interrupted(p.service, func() { o = w.handlers[p.service].Process(ctx, &received, nil) })
	w.trace("%s to %s: %v %v", p.message.Contract.Spec().Name, p.service, o.Verdict, o.Err)
	again := o.Verdict != leveret.VerdictAck
	if w.faults && !again {
		again = w.choose(4) == 0 // the ack is lost
	}
	if again && o.Verdict != leveret.VerdictDeadLetter {
		w.pending = append(w.pending, p)
	}
}

// nextCheck returns the id of the order's next check; it is empty where nothing is left to do.
func (w *world) nextCheck(ctx context.Context) string {
	entries, err := w.parts["order"].outbox.List(ctx, outbox.Later, 2)
	require.NoError(w.t, err)
	if len(entries) == 0 {
		return ""
	}
	require.Len(w.t, entries, 1)
	return entries[0].ID
}

// timers returns the step that the time of the order's next check comes.
func (w *world) timers(ctx context.Context) []step {
	if w.known < 0 || w.checked == w.checks && !w.faults || w.faults && (w.calling || len(w.pending) > 0) && w.choose(8) > 0 { // not too soon, if by chance
		return nil
	}
	id := w.nextCheck(ctx)
	switch id {
	case "":
		return nil
	case w.timer:
	default:
		w.timer, w.set = id, w.taken
	}
	return []step{{"order.check", "order", w.set, func() {
		w.checked++
		require.NoError(w.t, w.parts["order"].outbox.Cancel(ctx, id))
		check, err := queues.CheckOrder.Message(ctx, queues.CheckOrderCommand{OrderID: w.id()}, leveret.MessageID(id))
		require.NoError(w.t, err)
		w.deliver(ctx, pending{"order", check, w.set})
	}}}
}

// cancel is the customer's request. If it fails, the customer asks again.
func (w *world) cancel(ctx context.Context) {
	w.cancelled = true
	request := queues.CancelOrderRequest{OrderID: w.id(), CustomerID: "c-1"}
	var got leverettest.Answered[queues.ShowOrderReply]
	w.interrupted("order", func() { got = leverettest.Call(ctx, w.handlers["order"], queues.CancelOrder, request) })
	w.trace("order.cancel: %s %v", got.Reply.State, got.Err)
	w.cancelled = leveret.CodeOf(got.Err) != leveret.Unavailable
}

// interrupted lets a service handle something, and sends what it has stored. Perhaps it can store no message, or no second
// one, and its transaction fails; one that handles something else meanwhile is spared.
func (w *world) interrupted(service string, handle func()) {
	if store := w.parts[service].store; w.faults && !w.refusing && w.choose(3) == 0 {
		w.refusing = true
		shoptest.Refuse(w.t, store, 1+w.choose(2))
		handle()
		shoptest.Accept(w.t, store)
		w.refusing = false
	} else {
		handle()
	}
	w.relay(service)
}

// run places an order and takes steps until nothing is left to do. In the end, the customer always cancels, if only
// after the order was decided.
func (w *world) run(t *testing.T, o queues.PlaceOrderCommand) {
	t.Helper()
	o.OrderID, o.CustomerID = uuid.Must(uuid.NewV7()).String(), "c-1"
	place, err := queues.PlaceOrder.Message(t.Context(), o)
	require.NoError(t, err)
	w.orders = append(w.orders, o.OrderID)
	w.known, w.taken, w.last, w.lost, w.cancelled, w.checked = -1, 0, "", false, false, 0
	w.drops = w.dropped != nil
	w.pending = []pending{{"order", place, 0}}
	for steps := w.steps(t.Context()); len(steps) > 0; steps = w.steps(t.Context()) {
		w.take(steps[w.choose(len(steps))])
	}
	require.NotContains(t, fmt.Sprint(w.traces[o.OrderID]), leveret.VerdictDeadLetter.String())
	if left := w.nextCheck(t.Context()); left != "" {
		require.NoError(t, w.parts["order"].outbox.Cancel(t.Context(), left))
	}
}

// check balances the books.
func (w *world) check(t *testing.T) Ledger {
	t.Helper()
	l, err := Read(t.Context(), w.paths, w.orders)
	require.NoError(t, err)
	for _, wrong := range slices.Concat(l.Wrong, l.Undecided, l.ChargedTwice, l.ReservedTwice) {
		for _, id := range w.orders {
			require.NotContains(t, wrong, id, "after %q", w.traces[id])
		}
	}
	require.True(t, l.OK(), "%v", l)
	return l
}

// everyChoice goes through all sequences of choices.
type everyChoice struct {
	taken, of []int
	at        int
}

func (e *everyChoice) choose(n int) int {
	if e.at == len(e.taken) {
		e.taken, e.of = append(e.taken, 0), append(e.of, n)
	}
	e.at++
	return e.taken[e.at-1]
}

// advance goes to the next sequence. It returns false after the last one.
func (e *everyChoice) advance() bool {
	for e.at = len(e.taken) - 1; e.at >= 0; e.at-- {
		if e.taken[e.at]++; e.taken[e.at] < e.of[e.at] {
			e.taken, e.of, e.at = e.taken[:e.at+1], e.of[:e.at+1], 0
			return true
		}
	}
	return false
}
