package outbox

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A desk holds the messages that a relay is about to send, is sending, or has sent and not yet deleted. All of it belongs to
// the goroutine of work, but for the channels.
type desk struct {
	relay *relay
	lease *lease
	log   *slog.Logger
	end   context.CancelCauseFunc

	known map[int64]*row
	lanes map[string]*lane // by contract
	busy  int              // messages that are being sent
	bytes int              // of the bodies that are here
	sent  []*row           // to be deleted

	look     bool      // there may be something new in the table
	found    time.Time // when something was taken from it last
	turn     string    // the lane that was read last
	reading  bool
	stale    bool // what is being read may not show that a message was set aside
	filling  bool
	removing bool
	gone     []*row // deleted while something was being read that may have them still
	stalled  bool   // a statement has failed; it is tried again with the next poll

	warned  map[string]time.Time // when something was logged that comes again: by contract, or by its text
	leaving map[int]bool         // slots to give up
	// undeclared are contracts of which messages are ready in the relay's slots, and which its service does not declare.
	undeclared []string
	sending    context.Context //nolint:containedctx // of what is being sent: ends where the lease lapses
	stop       context.CancelFunc
	troubles   atomic.Pointer[[]trouble]

	results chan result
	pages   chan page
	filled  chan filling
	removed chan removal
	rested  <-chan time.Time // until then there is no other removal, unless it is a large one; nil afterwards
	surplus chan []int
	lapsed  chan struct{}
}

const (
	// pageSize is how many messages are read at once.
	pageSize = 1000
	// What was sent is deleted every removeEvery, or sooner if there is that much: many rows at once cost a database far
	// less. If the process is killed, they are sent once more.
	removeEvery, maxRemove = 100 * time.Millisecond, 4000
	// A relay looks every soon for more, for a while after it has found something: messages rarely come alone.
	soon, soonFor = 5 * time.Millisecond, 2 * time.Second
)

type (
	result struct {
		*row
		outcome
	}
	page struct {
		contracts, undeclared []string // those with messages, where these were asked for
		lane                  *lane    // else one of them, and what was read of it
		rows                  []*row
		before                int
		took                  time.Duration
		err                   error
	}
	filling struct {
		rows  []*row
		found map[int64]rest
		err   error
	}
	removal struct {
		rows []*row
		err  error
	}
)

func newDesk(r *relay, l *lease, end context.CancelCauseFunc) *desk {
	return &desk{
		relay: r, lease: l, log: r.o.config.Logger, end: end,
		known: map[int64]*row{}, lanes: map[string]*lane{}, leaving: map[int]bool{}, warned: map[string]time.Time{},
		results: make(chan result, r.o.config.Concurrency), pages: make(chan page, 1), filled: make(chan filling, 1), removed: make(chan removal, 1),
		surplus: make(chan []int), lapsed: make(chan struct{}, 1),
	}
}

// work sends messages until ctx ends, and what it is sending then; or until life does, where it sends nothing more.
func (d *desk) work(ctx, life context.Context) {
	d.sending, d.stop = context.WithCancel(life)
	defer func() { d.stop() }()
	poll := time.NewTimer(0)
	defer poll.Stop()
	var late <-chan time.Time
	done, over := ctx.Done(), life.Done()
	for {
		ending := done == nil || over == nil
		if ending && d.busy == 0 && !d.reading && !d.filling && !d.removing && (len(d.sent) == 0 || over == nil) {
			return
		}
		if !ending {
			d.read(life)
			d.fill(life)
			d.start()
		}
		d.remove(life, ending)
		d.giveUp(life)
		select {
		case <-poll.C:
			poll.Reset(d.poll())
			d.look, d.stalled = true, false
		case <-d.relay.o.woken:
			d.look = true
		case r := <-d.results:
			d.settle(r)
		case p := <-d.pages:
			d.take(life, p)
		case f := <-d.filled:
			d.complete(life, f)
		case r := <-d.removed:
			d.forget(life, r)
		case <-d.rested:
			d.rested = nil
		case slots := <-d.surplus:
			d.leave(slots)
		case <-d.lapsed:
			d.lapse(life)
		case <-done:
			done = nil
			late = time.After(finishWithin)
		case <-over:
			over = nil
		case <-late:
			d.end(errors.New("messages that were being sent had no outcome in time"))
		}
	}
}

// poll returns when to look for messages of other processes again.
func (d *desk) poll() time.Duration {
	every := d.relay.o.config.Poll
	if !d.stalled && time.Since(d.found) < soonFor {
		every = min(every, soon)
	}
	return every
}

// lapse ends what is being sent where the lease has not been kept: another relay may send it.
func (d *desk) lapse(life context.Context) {
	if d.lease.holds() {
		return
	}
	d.stop()
	d.sending, d.stop = context.WithCancel(life)
}

// read finds out which contracts have messages, or reads the next page of one.
func (d *desk) read(ctx context.Context) {
	if d.reading || d.stalled || !d.lease.holds() {
		return
	}
	var statement func(context.Context) page
	owned := *d.lease.owned.Load()
	if d.look {
		d.look = false
		statement = func(ctx context.Context) (p page) {
			p.contracts, p.undeclared, p.err = d.lease.contracts(ctx, d.relay.contracts)
			return p
		}
	} else if l := d.next(); l != nil {
		from, before, ok := l.turn(owned)
		if !ok {
			return
		}
		small := maxSmall
		if d.bytes > maxBodies/2 {
			small = -1
		}
		statement = func(ctx context.Context) (p page) {
			began := time.Now()
			p.lane, p.before = l, before
			p.rows, p.err = d.lease.page(ctx, l.contract, from, before, small)
			p.took = time.Since(began)
			return p
		}
	}
	if statement == nil {
		return
	}
	d.reading, d.stale = true, false
	go func() {
		within, cancel := context.WithTimeout(ctx, statementWithin)
		defer cancel()
		d.pages <- statement(within)
	}()
}

// next returns the lane whose turn it is to be read; nil if none has room, or anything new.
func (d *desk) next() *lane {
	names := slices.Sorted(maps.Keys(d.lanes))
	at, _ := slices.BinarySearch(names, d.turn+"\x00")
	for i := range names {
		l := d.lanes[names[(at+i)%len(names)]]
		if l.hungry(d.relay.o.config.Concurrency, time.Now()) {
			d.turn = l.contract
			return l
		}
	}
	return nil
}

// take puts what was read in its place.
func (d *desk) take(ctx context.Context, p page) {
	d.reading = false
	defer d.bury()
	switch {
	case p.err != nil:
		d.failed(ctx, "read the outbox", p.err)
		d.look = true
		return
	case p.lane == nil:
		for _, contract := range p.contracts {
			if d.lanes[contract] == nil {
				d.lanes[contract] = newLane(contract)
			}
			d.lanes[contract].again = true
		}
		d.miss(ctx, p.undeclared)
		return
	case d.lanes[p.lane.contract] != p.lane, d.stale:
		return // it is read again
	}
	owned := *d.lease.owned.Load()
	if p.lane.take(p, func(r *row) bool { return d.known[r.number] == nil && owned[r.slot] }, d.hold) {
		d.found = time.Now()
	}
}

// miss notes of which contracts there are messages that this relay cannot send. Another version of the service may.
func (d *desk) miss(ctx context.Context, undeclared []string) {
	if slices.Equal(d.undeclared, undeclared) {
		return
	}
	d.undeclared = undeclared
	d.tell()
	for _, contract := range undeclared {
		if d.warns(contract) {
			d.log.WarnContext(ctx, "messages of the outbox wait", "contract", contract, "error", d.relay.undeclared(contract))
		}
	}
}

// hold makes a message known, and release forgets it.
func (d *desk) hold(r *row) {
	d.known[r.number] = r
	d.lanes[r.contract].held++
	d.bytes += len(r.body)
}

func (d *desk) release(r *row) {
	if d.known[r.number] == r {
		delete(d.known, r.number)
		d.lanes[r.contract].held--
		d.empty(r)
	}
}

// empty drops the body of a message.
func (d *desk) empty(r *row) {
	d.bytes -= len(r.body)
	r.body, r.properties, r.filled = nil, "", false
}

// start sends what is ready, as much at once as there is room. Of several contracts, each takes half of what the others leave:
// one whose confirms do not come would else have all of it.
func (d *desk) start() {
	if d.stalled || !d.lease.holds() {
		return
	}
	now := time.Now()
	for name, l := range d.lanes {
		if l.idle(now) {
			delete(d.lanes, name)
			d.tell()
			continue
		}
		room := d.relay.o.config.Concurrency - (d.busy - l.sending)
		if len(d.lanes) > 1 {
			room = (room + 1) / 2
		}
		for r := range l.due(room-l.sending, now) {
			d.busy++
			go func(ctx context.Context) { d.results <- result{r, d.relay.send(ctx, d.lease, r)} }(d.sending)
		}
	}
}

// fill reads bodies, if some are missing that will be needed soon.
func (d *desk) fill(ctx context.Context) {
	if d.filling || d.stalled || !d.lease.holds() {
		return
	}
	batch := d.unfilled(time.Now())
	if len(batch) == 0 {
		return
	}
	d.filling = true
	go func() {
		within, cancel := context.WithTimeout(ctx, statementWithin)
		defer cancel()
		found, err := d.lease.fill(within, batch)
		d.filled <- filling{batch, found, err}
	}()
}

const (
	// maxFill is how many bodies are read at once that are not small, and maxBodies how many bytes of bodies are here, unless one alone is longer.
	maxFill   = 512
	maxBodies = 32 << 20
	// maxSmall is how long a message is at most that is read as a whole in its page.
	maxSmall = 2 << 10
)

// unfilled returns messages whose bodies are to be read. Each lane may have one, so that it goes on whatever others hold.
func (d *desk) unfilled(now time.Time) (batch []*row) {
	bytes := d.bytes
	for _, l := range d.lanes {
		first := l.sending == 0 && (len(l.ready) == 0 || !l.ready[0].filled)
		for r := range l.unfilled(d.relay.o.config.Concurrency, now) {
			if len(batch) == maxFill || !first && bytes+r.size > maxBodies {
				break
			}
			batch, bytes, first = append(batch, r), bytes+r.size, false
		}
	}
	return batch
}

// complete puts the rest of some messages in its place.
func (d *desk) complete(ctx context.Context, f filling) {
	d.filling = false
	if f.err != nil {
		d.failed(ctx, "read messages of the outbox", f.err)
		return
	}
	for _, r := range f.rows {
		if l := d.lanes[r.contract]; d.known[r.number] != r || l.failures > 0 && time.Now().Before(l.until) {
			continue
		}
		found, there := f.found[r.number]
		r.rest, r.filled, r.gone = found, true, !there
		d.bytes += len(r.body)
	}
}

// settle notes what became of a message.
func (d *desk) settle(of result) {
	r, l := of.row, d.lanes[of.contract]
	d.busy--
	l.sending--
	switch {
	case of.what == done:
		d.clear(l)
		d.empty(r)
		d.sent = append(d.sent, r)
		l.next(r)
	case of.what == gone:
		d.release(r)
		l.next(r)
	case of.what == setAside, of.what == unknown:
		d.clear(l)
		d.drop(l, r)
		d.stale = d.reading
		d.look = true // others of its key may be before it
	case d.leaving[r.slot]:
		d.drop(l, r)
	case of.what == closed:
		d.end(of.err)
		l.ready = append([]*row{r}, l.ready...)
	case of.what == lapsed:
		l.ready = append([]*row{r}, l.ready...)
	default:
		d.delay(l, of)
	}
}

// delay lets the messages of a contract wait, since one of them could not be sent, and the next would not be either. The
// next one that is tried is another one, if there is any: it may be only this one that cannot be sent.
func (d *desk) delay(l *lane, of result) {
	if l.failures == 0 && mayBlameItself(of.err) {
		of.row.failures++
	}
	if l.failures == 0 || time.Now().After(l.until) {
		l.failures++
		l.until = time.Now().Add(pause(l.failures))
	}
	l.ready = append(l.ready, of.row)
	for _, r := range l.ready {
		d.empty(r)
	}
	for _, c := range l.chains {
		for _, r := range c.waiting {
			d.empty(r)
		}
	}
	if l.trouble == "" {
		if l.trouble = of.err.Error(); !strings.Contains(l.trouble, of.contract) {
			l.trouble = of.contract + ": " + l.trouble
		}
		d.tell()
		if d.warns(l.contract) {
			d.log.Warn("messages of the outbox cannot be sent now; trying again", "contract", of.contract, "error", of.err)
		}
	}
}

// warnEvery is how often a contract whose messages cannot be sent is logged.
const warnEvery = time.Minute

// warns reports whether it is time to log something that comes again: a queue may be full each second.
func (d *desk) warns(about string) bool {
	now := time.Now()
	if last := d.warned[about]; now.Sub(last) <= warnEvery {
		return false
	}
	d.warned[about] = now
	return true
}

// clear notes that the messages of a contract can be sent.
func (d *desk) clear(l *lane) {
	if l.failures > 0 {
		l.failures, l.trouble = 0, ""
		d.tell()
	}
}

// drop forgets a message, and what waits behind it.
func (d *desk) drop(l *lane, r *row) {
	for _, behind := range l.drop(r) {
		d.release(behind)
	}
	d.release(r)
}

// remove deletes what was sent, unless that is going on, or has just been done.
func (d *desk) remove(ctx context.Context, ending bool) {
	if d.removing || d.stalled || len(d.sent) == 0 || ctx.Err() != nil || d.rested != nil && len(d.sent) < maxRemove && !ending {
		return
	}
	rows := d.sent[:min(len(d.sent), maxRemove)]
	d.sent = slices.Clone(d.sent[len(rows):])
	d.removing = true
	go func() {
		within, cancel := context.WithTimeout(ctx, statementWithin)
		defer cancel()
		d.removed <- removal{rows, d.lease.remove(within, rows)}
	}()
}

// forget notes what was deleted.
func (d *desk) forget(ctx context.Context, of removal) {
	d.removing, d.rested = false, time.After(removeEvery)
	if of.err != nil {
		d.sent = append(of.rows, d.sent...)
		d.failed(ctx, "delete what was sent from the outbox", of.err)
		return
	}
	for _, r := range of.rows {
		d.look = d.look || r.tried // what was behind it is blocked no more
	}
	d.gone = append(d.gone, of.rows...)
	if !d.reading { // else it may be found once more
		d.bury()
	}
}

// bury forgets what was deleted.
func (d *desk) bury() {
	for _, r := range d.gone {
		d.release(r)
	}
	d.gone = nil
}

// failed notes that a statement has failed, and waits for the next poll.
func (d *desk) failed(ctx context.Context, what string, err error) {
	if ctx.Err() == nil && d.warns(what+": "+err.Error()) {
		d.log.WarnContext(ctx, "the outbox's relay: "+what+"; trying again", "error", err)
	}
	d.stalled = true
}

// leave has slots given up, once nothing of them is being sent; and no others.
func (d *desk) leave(which []int) {
	d.leaving = make(map[int]bool, len(which))
	for _, slot := range which {
		d.leaving[slot] = true
	}
	if len(which) == 0 {
		return
	}
	for _, l := range d.lanes {
		for _, r := range l.leave(d.leaving) {
			d.release(r)
		}
	}
}

// giveUp gives up the slots of which nothing is left here.
func (d *desk) giveUp(ctx context.Context) {
	if len(d.leaving) == 0 || d.reading || d.stalled {
		return
	}
	idle := maps.Clone(d.leaving)
	for _, r := range d.known {
		delete(idle, r.slot)
	}
	if len(idle) == 0 {
		return
	}
	if err := d.lease.giveUp(ctx, slices.Sorted(maps.Keys(idle))); err != nil {
		d.failed(ctx, "give up its surplus", err)
		return
	}
	maps.DeleteFunc(d.leaving, func(slot int, _ bool) bool { return idle[slot] })
}
