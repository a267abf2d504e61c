package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A relay sends what is in the table, in one lease after another.
type relay struct {
	o         *Outbox
	sender    leveret.Sender
	contracts map[string]leveret.Contract
}

// Relay sends stored messages through s, which is a [leveret.Client] of the service, until ctx ends; then it finishes what
// it is sending, for some seconds at most, and returns nil. A message is deleted once s has taken responsibility for it. It waits
// for a database or a broker that is away. Any number of processes may run it at once, and share the work; in one Outbox it
// runs once.
//
// Messages that have the same key are sent one after the other, in the order in which they were stored. Where one of them
// cannot be sent, those behind it wait: it is tried again after a second and, by and by, a minute, or, where the error is of
// the message, set aside until somebody decides. Messages of other keys, and those without one, are sent all the time.
func (o *Outbox) Relay(ctx context.Context, service *leveret.Service, s leveret.Sender) error {
	if service == nil || s == nil {
		return leveret.Errorf(leveret.InvalidArgument, "a relay needs a service and a sender")
	}
	if !o.relaying.CompareAndSwap(false, true) {
		return leveret.Errorf(leveret.FailedPrecondition, "the outbox has a relay already")
	}
	defer o.relaying.Store(false)
	r := &relay{o: o, sender: s, contracts: map[string]leveret.Contract{}}
	for _, role := range []leveret.Role{leveret.RoleSends, leveret.RolePublishes} {
		for _, c := range service.Contracts(role) {
			r.contracts[c.Spec().Name] = c
		}
	}
	said := ""
	for ctx.Err() == nil {
		err := r.tenure(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if now := err.Error(); now != said {
			o.config.Logger.WarnContext(ctx, "the outbox is not being sent", "error", err)
			said = now
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

// finishWithin is how long messages that are being sent have when the relay ends.
const finishWithin = 10 * time.Second

// tenure is one lease from beginning to end.
func (r *relay) tenure(ctx context.Context) error {
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	l := newLease(r.o.config.DB, r.o.config.Lease, end)
	if err := l.join(ctx); err != nil {
		return fmt.Errorf("begin a lease: %w", err)
	}
	d := &desk{
		relay: r, lease: l, log: r.o.config.Logger, known: map[int64]*row{}, chains: map[string][]*row{},
		results: make(chan result, r.o.config.Concurrency), found: make(chan reading, 1), removed: make(chan removal, 1),
		surplus: make(chan []int),
	}
	var beside sync.WaitGroup
	beating, stop := context.WithCancel(life)
	beside.Go(func() { d.beat(beating) })
	beside.Go(func() { r.o.survey(beating) })
	d.work(ctx, life)
	stop()
	beside.Wait()
	err := context.Cause(life)
	if err == nil || ctx.Err() != nil {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
		defer cancel()
		if failed := l.leave(leaving); failed != nil {
			d.log.WarnContext(ctx, "others will wait for the lease of this relay to end", "error", failed)
		}
		return nil
	}
	return err
}

// beat keeps the lease, and sees to the relay's share of the slots.
func (d *desk) beat(ctx context.Context) {
	every := time.NewTicker(d.lease.length / 5)
	defer every.Stop()
	for {
		err := d.lease.beat(ctx)
		if errors.Is(err, errLost) || !d.lease.holds() {
			d.lease.cancel(errors.Join(errLost, err))
			return
		}
		if err == nil {
			var surplus []int
			if surplus, err = d.lease.share(ctx); len(surplus) > 0 {
				select {
				case d.surplus <- surplus:
				case <-ctx.Done():
				}
			}
			d.relay.o.wake()
		}
		if err != nil && ctx.Err() == nil {
			d.log.DebugContext(ctx, "the outbox's lease", "error", err)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// A desk holds the messages that a relay is about to send, is sending, or has sent and not yet deleted. All of it belongs to
// the goroutine of work.
type desk struct {
	relay *relay
	lease *lease
	log   *slog.Logger

	known   map[int64]*row    // by number
	chains  map[string][]*row // of keys of which a message is being sent: what waits behind it
	ready   []*row            // to be sent as soon as there is room
	sending int
	sent    []*row // to be deleted

	reading  bool
	again    bool            // there may be more to read
	failed   map[string]bool // keys, since the current reading began
	gone     []*row          // deleted since then
	removing bool
	stalled  bool         // deleting has failed; it is tried again with the next poll
	leaving  map[int]bool // slots to give up

	results chan result
	found   chan reading
	removed chan removal
	surplus chan []int
}

type (
	result struct {
		*row
		err error
	}
	reading struct {
		rows []*row
		most int
		err  error
	}
	removal struct {
		rows []*row
		err  error
	}
)

// batch is how many messages are read at once that are not known yet, and deleted at once.
const batch = 1000

// work sends messages until ctx ends, and what it is sending then; or until life does, where it sends nothing more.
func (d *desk) work(ctx, life context.Context) {
	poll := time.NewTicker(d.relay.o.config.Poll)
	defer poll.Stop()
	d.again = true
	var late <-chan time.Time
	done := ctx.Done()
	for {
		ending := done == nil || life.Err() != nil
		if ending && d.sending == 0 && !d.reading && !d.removing && (len(d.sent) == 0 || life.Err() != nil) {
			return
		}
		if !ending {
			d.read(life)
			d.start(life)
		}
		d.remove(life)
		d.giveUp(life)
		select {
		case <-poll.C:
			d.again, d.stalled = true, false
		case <-d.relay.o.woken:
			d.again = true
		case r := <-d.results:
			d.settle(r)
		case f := <-d.found:
			d.take(f)
		case r := <-d.removed:
			d.forget(r)
		case slots := <-d.surplus:
			d.leave(slots)
		case <-done:
			done = nil
			late = time.After(finishWithin)
		case <-late:
			d.lease.cancel(errors.New("it took too long"))
		}
	}
}

// read looks for messages, unless that is going on, or there are enough. It reads from the beginning each time: then it finds
// the messages of a key in their order, whatever became ready meanwhile, and those of transactions that have lasted long.
func (d *desk) read(ctx context.Context) {
	if d.reading || !d.again || len(d.known) > batch/2 || !d.lease.holds() {
		return
	}
	d.reading, d.again = true, false
	d.failed, d.gone = map[string]bool{}, nil
	most := len(d.known) + batch
	go func() {
		f := reading{most: most, err: d.lease.promote(ctx, time.Now())}
		if f.err == nil {
			f.rows, f.err = d.lease.read(ctx, most)
		}
		d.found <- f
	}()
}

// take puts what was read in its place.
func (d *desk) take(f reading) {
	d.reading = false
	if f.err != nil {
		d.log.Debug("read the outbox", "error", f.err)
	}
	owned := *d.lease.owned.Load()
	for _, r := range f.rows {
		if d.known[r.number] != nil || !owned[r.slot] || d.failed[r.key] && r.key != "" {
			continue
		}
		d.known[r.number] = r
		if r.key == "" {
			d.ready = append(d.ready, r)
		} else if waiting, busy := d.chains[r.key]; busy {
			d.chains[r.key] = append(waiting, r)
		} else {
			d.chains[r.key] = nil
			d.ready = append(d.ready, r)
		}
	}
	for _, r := range d.gone {
		delete(d.known, r.number)
	}
	d.gone = nil
	d.again = d.again || len(f.rows) == f.most
}

// start sends what is ready, as much at once as there is room.
func (d *desk) start(ctx context.Context) {
	for len(d.ready) > 0 && d.sending < d.relay.o.config.Concurrency {
		r := d.ready[0]
		d.ready[0] = nil
		d.ready = d.ready[1:]
		d.sending++
		go func() { d.results <- result{r, d.relay.send(ctx, d.lease, r)} }()
	}
}

// settle notes what became of a message.
func (d *desk) settle(of result) {
	d.sending--
	r := of.row
	if of.err == nil {
		d.sent = append(d.sent, r)
		if r.key == "" {
			return
		}
		if waiting := d.chains[r.key]; len(waiting) > 0 {
			d.ready, d.chains[r.key] = append(d.ready, waiting[0]), waiting[1:]
		} else {
			delete(d.chains, r.key)
		}
		return
	}
	delete(d.known, r.number)
	if r.key != "" {
		d.drop(r.key)
		if d.reading { // it may be finding what is behind
			d.failed[r.key] = true
		}
	}
}

// drop forgets what waits behind a message that could not be sent.
func (d *desk) drop(key string) {
	for _, r := range d.chains[key] {
		delete(d.known, r.number)
	}
	delete(d.chains, key)
}

// remove deletes what was sent, unless that is going on.
func (d *desk) remove(ctx context.Context) {
	if d.removing || d.stalled || len(d.sent) == 0 || ctx.Err() != nil {
		return
	}
	rows := d.sent[:min(len(d.sent), batch)]
	d.sent = append([]*row(nil), d.sent[len(rows):]...)
	d.removing = true
	go func() { d.removed <- removal{rows, d.lease.remove(ctx, rows)} }()
}

// forget notes what was deleted.
func (d *desk) forget(of removal) {
	d.removing = false
	if of.err != nil {
		d.sent, d.stalled = append(d.sent, of.rows...), true
		d.log.Debug("delete what was sent from the outbox", "error", of.err)
		return
	}
	for _, r := range of.rows {
		if d.reading { // it may be found once more
			d.gone = append(d.gone, r)
		} else {
			delete(d.known, r.number)
		}
	}
}

// leave has slots given up, once nothing of them is being sent.
func (d *desk) leave(slots []int) {
	d.leaving = make(map[int]bool, len(slots))
	for _, slot := range slots {
		d.leaving[slot] = true
	}
	left := d.ready[:0]
	for _, r := range d.ready {
		if !d.leaving[r.slot] {
			left = append(left, r)
			continue
		}
		delete(d.known, r.number)
		d.drop(r.key)
	}
	d.ready = left
	for key, waiting := range d.chains {
		if len(waiting) > 0 && d.leaving[waiting[0].slot] {
			for _, r := range waiting {
				delete(d.known, r.number)
			}
			d.chains[key] = nil
		}
	}
}

// giveUp gives up the slots of which nothing is left here.
func (d *desk) giveUp(ctx context.Context) {
	if len(d.leaving) == 0 || d.reading {
		return
	}
	busy := map[int]bool{}
	for _, r := range d.known {
		busy[r.slot] = true
	}
	for slot := range d.leaving {
		if !busy[slot] && d.lease.giveUp(ctx, slot) == nil {
			delete(d.leaving, slot)
		}
	}
}

// errStopped says that a message was left alone because the lease has ended.
var errStopped = errors.New("the lease has ended")

// send sends one message, or writes down why that failed.
func (r *relay) send(ctx context.Context, l *lease, of *row) error {
	if !l.holds() {
		l.cancel(errLost)
		return errStopped
	}
	err := r.hand(ctx, of)
	if err == nil || ctx.Err() != nil {
		return err
	}
	due := time.Now().Add(pause(of.tries)).UnixMicro()
	level, what := slog.LevelWarn, "a message in the outbox was not sent; trying again later"
	if final(err) {
		due, level, what = never, slog.LevelError, "a message in the outbox cannot be sent; it is set aside, and what has the same key waits"
	}
	r.o.config.Logger.Log(ctx, level, what, "contract", of.contract, "message_id", of.id, "key", of.key, "error", err)
	if failed := l.fail(ctx, of, due, err); failed != nil {
		r.o.config.Logger.DebugContext(ctx, "the outbox does not know yet", "message_id", of.id, "error", failed)
	}
	return err
}

func (r *relay) hand(ctx context.Context, of *row) error {
	contract := r.contracts[of.contract]
	if contract == nil {
		return leveret.Errorf(leveret.FailedPrecondition, "the service that relays it does not declare that it sends %q", of.contract)
	}
	m, err := of.message(contract)
	if err != nil {
		return err
	}
	return r.sender.Send(ctx, m)
}

// final reports whether an error is of the message itself, so that trying again would not help.
func final(err error) bool {
	switch leveret.CodeOf(err) {
	case leveret.InvalidArgument, leveret.FailedPrecondition, leveret.DataLoss, leveret.Unimplemented, leveret.OutOfRange:
		return true
	default:
		return false
	}
}

// pause is how long a message waits after some tries.
func pause(tries int) time.Duration {
	return min(time.Second<<min(tries, 6), time.Minute)
}
