package outbox

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

const (
	// pageSize is how many messages are read at once, and deleted at once.
	pageSize = 1000
	// maxOfContract is how many messages of one contract a relay holds, without their bodies, so that one that cannot be sent
	// does not take the place of all others.
	maxOfContract = 2 * pageSize
	// maxOfKey is how many of one key, so that a key with many does not take the place of all others.
	maxOfKey = 64
	// maxFill and maxFillBytes are how many bodies are read at once, and how long they are together: one at least. With each
	// message those of maxFillOfKey behind it are read.
	maxFill      = 512
	maxFillBytes = 4 << 20
	maxFillOfKey = 8
	// rescan is how long a relay reads on before it begins at the beginning again: a transaction that lasted long may have
	// committed messages there.
	rescan = time.Second
	// A relay looks every soon for more, for a while after it has found something: messages rarely come alone.
	soon, soonFor = 5 * time.Millisecond, 2 * time.Second
	// restPart is the part of the time in which it reads, at most, what it cannot send now.
	restPart = 10
)

// A desk holds the messages that a relay is about to send, is sending, or has sent and not yet deleted. All of it belongs to
// the goroutine of work, but for the channels.
//
// It reads the table in scans, page after page. Of each key it takes the messages in their order, or none: what it has passed over
// in a scan, it leaves for the next one, with all that is behind it.
type desk struct {
	relay *relay
	lease *lease
	log   *slog.Logger
	end   context.CancelCauseFunc

	known  map[int64]*row
	chains map[string]*chain // by key
	lanes  map[string]*lane  // by contract
	busy   int               // messages that are being sent
	sent   []*row            // to be deleted

	scan     *scan     // nil when there is none
	rest     time.Time // until then none begins, unless there is something new
	found    time.Time // when there was something new in the table, by the last look
	filling  bool
	reading  bool
	again    bool // there may be something new
	gone     []*row
	removing bool
	stalled  bool // a statement has failed; it is tried again with the next poll

	leaving  map[int]bool    // slots to give up
	sending  context.Context //nolint:containedctx // of what is being sent: ends where the lease lapses
	stop     context.CancelFunc
	troubles atomic.Pointer[string]

	results chan result
	pages   chan page
	filled  chan filling
	removed chan removal
	surplus chan []int
	lapsed  chan struct{}
}

// A chain is the messages of a key: one is ready or being sent, and these wait behind it.
type chain struct{ waiting []*row }

// A lane is the messages of a contract.
type lane struct {
	held     int    // those that are known
	ready    []*row // to be sent as soon as there is room
	sending  int
	failures int       // in a row: then one message is tried at a time
	until    time.Time // nothing is sent
	trouble  string
}

// A scan is one reading of the table from its beginning to its end.
type scan struct {
	began   time.Time
	cursor  int64           // the number of the last message that was read
	owned   map[int]bool    // the slots
	blocked map[string]bool // keys of which a message was set aside; nil before they are read
	passed  map[string]bool // keys of which a message was passed over
	parking []*row          // to be read no more
}

type (
	result struct {
		*row
		err   error
		final bool
	}
	page struct {
		of      *scan
		rows    []*row
		blocked map[string]bool
		err     error
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
		known: map[int64]*row{}, chains: map[string]*chain{}, lanes: map[string]*lane{}, leaving: map[int]bool{},
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
	d.again = true
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
		d.remove(life)
		d.giveUp(life)
		select {
		case <-poll.C:
			poll.Reset(d.poll())
			d.again, d.stalled = d.again || time.Now().After(d.rest), false
		case <-d.relay.o.woken:
			d.again = true
		case r := <-d.results:
			d.settle(r)
		case p := <-d.pages:
			d.take(life, p)
		case f := <-d.filled:
			d.complete(life, f)
		case r := <-d.removed:
			d.forget(r)
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

// hungry reports whether there is room for more than what is ready.
func (d *desk) hungry() bool {
	ready := 0
	for _, l := range d.lanes {
		if l.failures == 0 {
			ready += len(l.ready)
		}
	}
	return ready+d.busy < 2*d.relay.o.config.Concurrency
}

// read reads the next page of a scan, or begins one.
func (d *desk) read(ctx context.Context) {
	if d.reading || d.stalled || !d.hungry() || !d.lease.holds() {
		return
	}
	if d.scan != nil && time.Since(d.scan.began) > rescan {
		d.scan, d.again = nil, true
	}
	if d.scan == nil {
		if !d.again {
			return
		}
		d.again = false
		d.scan = &scan{began: time.Now(), owned: *d.lease.owned.Load(), passed: map[string]bool{}}
		if len(d.scan.owned) == 0 {
			d.scan = nil
			return
		}
	}
	d.reading = true
	of := d.scan
	behind, parking := of.cursor, of.parking
	first := of.blocked == nil
	of.parking = nil
	go func() {
		within, cancel := context.WithTimeout(ctx, statementWithin)
		defer cancel()
		p := page{of: of}
		if len(parking) > 0 {
			p.err = d.lease.park(within, parking)
		}
		if first && p.err == nil { // before the messages: what becomes blocked meanwhile, this relay has sent
			p.blocked, p.err = d.lease.blocked(within)
		}
		if p.err == nil {
			p.rows, p.err = d.lease.page(within, behind)
		}
		d.pages <- p
	}()
}

// take puts what was read in its place.
func (d *desk) take(ctx context.Context, p page) {
	d.reading = false
	defer d.bury()
	if p.err != nil {
		d.failed(ctx, "read the outbox", p.err)
		d.scan, d.again = nil, true
		return
	}
	if p.of != d.scan {
		return
	}
	if p.blocked != nil {
		d.scan.blocked = p.blocked
	}
	for _, r := range p.rows {
		if d.add(r) {
			d.found = time.Now()
		}
	}
	if len(p.rows) > 0 {
		d.scan.cursor = p.rows[len(p.rows)-1].number
	}
	if len(p.rows) < pageSize && len(d.scan.parking) == 0 {
		d.rest = time.Now().Add((restPart - 1) * time.Since(d.scan.began))
		d.scan = nil
	}
}

// add takes a message that was read, or passes over it; it reports whether it has taken it.
func (d *desk) add(r *row) bool {
	owned := *d.lease.owned.Load()
	if d.known[r.number] != nil || !d.scan.owned[r.slot] || !owned[r.slot] {
		return false
	}
	c := d.chains[r.key]
	switch {
	case d.lane(r).held >= maxOfContract && r.key == "":
		return false
	case r.key == "":
		d.queue(r)
	case d.scan.passed[r.key], d.scan.blocked[r.key] && !r.tried, c != nil && len(c.waiting) >= maxOfKey, d.lane(r).held >= maxOfContract:
		d.scan.passed[r.key] = true
		if d.scan.blocked[r.key] && !r.tried {
			d.scan.parking = append(d.scan.parking, r)
		}
		return false
	case c != nil:
		c.waiting = append(c.waiting, r)
	default:
		d.chains[r.key] = &chain{}
		d.queue(r)
		d.scan.passed[r.key] = r.tried // what is behind it waits until it is gone
	}
	d.hold(r)
	return true
}

// lane returns the lane of a message.
func (d *desk) lane(r *row) *lane {
	l := d.lanes[r.contract]
	if l == nil {
		l = &lane{}
		d.lanes[r.contract] = l
	}
	return l
}

// hold makes a message known, and release forgets it.
func (d *desk) hold(r *row) {
	d.known[r.number] = r
	d.lane(r).held++
}

func (d *desk) release(r *row) {
	if d.known[r.number] == r {
		delete(d.known, r.number)
		d.lane(r).held--
	}
}

// queue makes a message ready to be sent.
func (d *desk) queue(r *row) {
	l := d.lane(r)
	l.ready = append(l.ready, r)
}

// start sends what is ready, as much at once as there is room.
func (d *desk) start() {
	if d.stalled || !d.lease.holds() {
		return
	}
	now := time.Now()
	for name, l := range d.lanes {
		if l.held == 0 && l.failures == 0 {
			delete(d.lanes, name)
			continue
		}
		room := d.relay.o.config.Concurrency - d.busy
		if l.failures > 0 {
			room = min(room, 1-l.sending)
			if now.Before(l.until) {
				continue
			}
		}
		for ; room > 0 && len(l.ready) > 0 && l.ready[0].filled; room-- {
			r := l.ready[0]
			l.ready[0] = nil
			l.ready = l.ready[1:]
			l.sending++
			d.busy++
			go func(ctx context.Context) {
				err, final := d.relay.send(ctx, d.lease, r)
				if err != nil && ctx.Err() != nil && !final {
					err = errLapsed
				}
				d.results <- result{r, err, final}
			}(d.sending)
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

// unfilled returns messages whose bodies are to be read: those that are ready, where few before them have theirs, and some
// behind them in their keys.
func (d *desk) unfilled(now time.Time) (batch []*row) {
	bytes := 0
	add := func(r *row) {
		if !r.filled && len(batch) < maxFill && (len(batch) == 0 || bytes+r.size <= maxFillBytes) {
			batch = append(batch, r)
			bytes += r.size
		}
	}
	for _, l := range d.lanes {
		most := d.relay.o.config.Concurrency
		if l.failures > 0 {
			if most = 1; now.Before(l.until) {
				continue
			}
		}
		ahead := l.ready[:min(len(l.ready), 2*most)]
		if first := slices.IndexFunc(ahead, func(r *row) bool { return !r.filled }); first < 0 || first > most/2 {
			continue // there is enough to send before it
		}
		for _, r := range ahead {
			add(r)
			if c := d.chains[r.key]; c != nil {
				for _, behind := range c.waiting[:min(len(c.waiting), maxFillOfKey)] {
					add(behind)
				}
			}
		}
	}
	return batch
}

// complete puts the rest of some messages in its place. Of those that are gone there is none.
func (d *desk) complete(ctx context.Context, f filling) {
	d.filling = false
	if f.err != nil {
		d.failed(ctx, "read messages of the outbox", f.err)
		return
	}
	for _, r := range f.rows {
		r.rest, r.filled = f.found[r.number], true
	}
}

// settle notes what became of a message.
func (d *desk) settle(of result) {
	r, l := of.row, d.lanes[of.contract]
	d.busy--
	l.sending--
	switch {
	case of.err == nil:
		d.clear(l)
		r.rest = rest{}
		d.sent = append(d.sent, r)
		d.next(r)
	case errors.Is(of.err, errGone):
		d.release(r)
		d.next(r)
	case of.final:
		d.clear(l)
		d.release(r)
		d.drop(r.key)
	case d.leaving[r.slot]:
		d.release(r)
		d.drop(r.key)
	default:
		l.ready = append([]*row{r}, l.ready...)
		switch {
		case errors.Is(of.err, leveret.ErrClosed):
			d.end(of.err)
		case !errors.Is(of.err, errLapsed):
			d.delay(l, of)
		}
	}
}

// delay lets the messages of a contract wait, since one of them could not be sent, and the next would not be either.
func (d *desk) delay(l *lane, of result) {
	if l.failures == 0 || time.Now().After(l.until) {
		l.failures++
		l.until = time.Now().Add(pause(l.failures))
	}
	if l.trouble == "" {
		l.trouble = of.contract + ": " + of.err.Error()
		d.tell()
		d.log.Warn("messages of the outbox cannot be sent now; trying again", "contract", of.contract, "error", of.err)
	}
}

// clear notes that the messages of a contract can be sent.
func (d *desk) clear(l *lane) {
	if l.failures > 0 {
		l.failures, l.trouble = 0, ""
		d.tell()
	}
}

// tell notes for beat what keeps which contracts from being sent.
func (d *desk) tell() {
	var all []string
	for _, l := range d.lanes {
		if l.trouble != "" {
			all = append(all, l.trouble)
		}
	}
	slices.Sort(all)
	text := strings.Join(all, "; ")
	d.troubles.Store(&text)
}

// trouble says which contracts cannot be sent, for other processes.
func (d *desk) trouble() string {
	if t := d.troubles.Load(); t != nil {
		return *t
	}
	return ""
}

// next makes the message behind one that was sent ready.
func (d *desk) next(r *row) {
	c := d.chains[r.key]
	if r.key == "" || c == nil {
		return
	}
	if len(c.waiting) == 0 {
		delete(d.chains, r.key)
		return
	}
	d.queue(c.waiting[0])
	c.waiting = c.waiting[1:]
}

// drop forgets what waits behind a message, and takes nothing of its key in this scan.
func (d *desk) drop(key string) {
	if key == "" {
		return
	}
	if c := d.chains[key]; c != nil {
		for _, r := range c.waiting {
			d.release(r)
		}
		delete(d.chains, key)
	}
	if d.scan != nil {
		d.scan.passed[key] = true
	}
}

// remove deletes what was sent, unless that is going on.
func (d *desk) remove(ctx context.Context) {
	if d.removing || d.stalled || len(d.sent) == 0 || ctx.Err() != nil {
		return
	}
	rows := d.sent[:min(len(d.sent), pageSize)]
	d.sent = slices.Clone(d.sent[len(rows):])
	d.removing = true
	go func() {
		within, cancel := context.WithTimeout(ctx, statementWithin)
		defer cancel()
		d.removed <- removal{rows, d.lease.remove(within, rows)}
	}()
}

// forget notes what was deleted.
func (d *desk) forget(of removal) {
	d.removing = false
	if of.err != nil {
		d.sent = append(of.rows, d.sent...)
		d.failed(context.Background(), "delete what was sent from the outbox", of.err)
		return
	}
	for _, r := range of.rows {
		d.again = d.again || r.tried // what was behind it is ready
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
	if !d.stalled && ctx.Err() == nil {
		d.log.Warn("the outbox's relay: "+what+"; trying again", "error", err)
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
		l.ready = slices.DeleteFunc(l.ready, func(r *row) bool {
			if d.leaving[r.slot] {
				d.release(r)
				d.drop(r.key)
			}
			return d.leaving[r.slot]
		})
	}
	for key, c := range d.chains { // whose first is being sent
		if len(c.waiting) > 0 && d.leaving[c.waiting[0].slot] {
			for _, r := range c.waiting {
				d.release(r)
			}
			c.waiting = nil
			if d.scan != nil {
				d.scan.passed[key] = true
			}
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
	var which []string
	for slot := range idle {
		which = append(which, strconv.Itoa(slot))
	}
	if err := d.lease.giveUp(ctx, which); err != nil {
		d.failed(ctx, "give up its surplus", err)
		return
	}
	maps.DeleteFunc(d.leaving, func(slot int, _ bool) bool { return idle[slot] })
}
