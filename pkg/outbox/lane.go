package outbox

import (
	"iter"
	"slices"
	"time"
)

// A lane is the messages of one contract. It is read in rounds, from the first key of the first slot to the last. What is taken of
// a key at once was there at the same time, so that it is in order: of two transactions, of which one had committed before the
// other began, both are seen, or only the first. What is left of a key is left for the next round.
type lane struct {
	contract string
	chains   map[string]*chain // by key
	ready    []*row            // to be sent as soon as there is room
	held     int               // messages that are known
	sending  int

	failures int       // in a row: then one message is tried at a time
	until    time.Time // nothing is sent
	trouble  string

	again bool      // a round is to begin: there may be something new
	rest  time.Time // but not before
	round *round    // nil between two
}

// A round is one reading of a lane.
type round struct {
	at    cursor
	spent time.Duration // reading
	took  bool          // something
}

// A chain is the messages of a key: one is ready or being sent, and these wait behind it.
type chain struct{ waiting []*row }

const (
	// maxOfLane is how many messages a relay holds of one contract, without their bodies, and maxOfKey how many of one key.
	maxOfLane = 16 * pageSize
	maxOfKey  = 64
	// maxFillOfKey is how many bodies are read of one key at once.
	maxFillOfKey = 8
	// restPart is the part of the time in which a lane is read, at most, when nothing of it can be taken.
	restPart    = 10
	longestRest = time.Second
)

func newLane(contract string) *lane { return &lane{contract: contract, chains: map[string]*chain{}} }

// idle reports whether nothing is known of the lane that has to be remembered.
func (l *lane) idle(now time.Time) bool {
	return l.held == 0 && l.sending == 0 && l.round == nil && !l.again && now.After(l.rest)
}

// hungry reports whether there is something to read, and room for it.
func (l *lane) hungry(concurrency int, now time.Time) bool {
	switch {
	case l.held >= maxOfLane, len(l.ready)+l.sending >= 2*concurrency:
		return false
	case l.failures > 0 && len(l.ready) > 1: // one of them is tried next
		return false
	default:
		return l.round != nil || l.again && now.After(l.rest)
	}
}

// turn returns where the next page begins, and the slot before which it ends; ok is false at the end of a round.
func (l *lane) turn(owned map[int]bool) (from cursor, before int, ok bool) {
	if l.round == nil {
		l.round, l.again = &round{}, false
	}
	from = l.round.at
	for from.slot < slots && !owned[from.slot] {
		from = cursor{slot: from.slot + 1}
	}
	if from.slot >= slots {
		l.end(time.Now())
		return from, 0, false
	}
	before = from.slot + 1
	for before < slots && owned[before] {
		before++
	}
	return from, before, true
}

// end ends a round. Where it has taken something, there may be more.
func (l *lane) end(now time.Time) {
	if l.round.took {
		l.again = true
	} else {
		l.rest = now.Add(min((restPart-1)*l.round.spent, longestRest)) // a statement may have waited for a connection
	}
	l.round = nil
}

// take takes messages of a page, as far as there is room: those for which fresh is true. It calls hold for each, and reports
// whether there was one.
func (l *lane) take(p page, fresh func(*row) bool, hold func(*row)) (took bool) {
	if l.round == nil {
		return false
	}
	l.round.spent += p.took
	for rows := p.rows; len(rows) > 0; {
		if l.held >= maxOfLane {
			l.round.took = l.round.took || took
			return took // the round goes on with these
		}
		n := 1
		if key := rows[0].key; key != "" {
			n = slices.IndexFunc(rows, func(r *row) bool { return r.key != key || r.slot != rows[0].slot })
			if n < 0 {
				n = len(rows)
			}
		}
		if l.takeKey(rows[:n], fresh, hold) {
			took = true
		}
		l.round.at = rows[n-1].behind()
		rows = rows[n:]
	}
	l.round.took = l.round.took || took
	if len(p.rows) < pageSize {
		l.round.at = cursor{slot: p.before}
	}
	return took
}

// takeKey takes messages of one key, which are all of it from the first one on, or one message without a key.
func (l *lane) takeKey(rows []*row, fresh func(*row) bool, hold func(*row)) (took bool) {
	for _, r := range rows {
		if r.blocked {
			return took
		}
		if !fresh(r) {
			continue
		}
		c := l.chains[r.key]
		switch {
		case r.key == "":
			l.ready = append(l.ready, r)
		case c == nil:
			l.chains[r.key] = &chain{}
			l.ready = append(l.ready, r)
		case len(c.waiting) >= maxOfKey:
			return took
		default:
			c.waiting = append(c.waiting, r)
		}
		hold(r)
		took = true
	}
	return took
}

// due yields up to so many messages that can be sent now, and counts them as being sent.
func (l *lane) due(room int, now time.Time) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		if l.failures > 0 {
			if room = min(room, 1-l.sending); now.Before(l.until) {
				return
			}
		}
		for ; room > 0 && len(l.ready) > 0 && l.ready[0].filled; room-- {
			r := l.ready[0]
			l.ready[0] = nil
			l.ready = l.ready[1:]
			l.sending++
			if !yield(r) {
				return
			}
		}
	}
}

// unfilled yields messages whose bodies are to be read: those that are ready, where few before them have theirs, and some
// behind them in their keys.
func (l *lane) unfilled(concurrency int, now time.Time) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		if l.failures > 0 {
			if concurrency = 1; now.Before(l.until) {
				return
			}
		}
		ahead := l.ready[:min(len(l.ready), 2*concurrency)]
		first := slices.IndexFunc(ahead, func(r *row) bool { return !r.filled })
		if first < 0 || first > concurrency/2 {
			return // there is enough to send before it
		}
		for _, r := range ahead {
			if !r.filled && !yield(r) {
				return
			}
			c := l.chains[r.key]
			if r.key == "" || c == nil {
				continue
			}
			for _, behind := range c.waiting[:min(len(c.waiting), maxFillOfKey)] {
				if !behind.filled && !yield(behind) {
					return
				}
			}
		}
	}
}

// next makes the message ready that is behind one that is done with.
func (l *lane) next(r *row) {
	c := l.chains[r.key]
	switch {
	case r.key == "" || c == nil:
	case len(c.waiting) == 0:
		delete(l.chains, r.key)
	default:
		l.ready = append(l.ready, c.waiting[0])
		c.waiting = c.waiting[1:]
	}
}

// drop forgets the chain of a message, and returns what waited there.
func (l *lane) drop(r *row) (waited []*row) {
	if c := l.chains[r.key]; r.key != "" && c != nil {
		waited = c.waiting
		delete(l.chains, r.key)
	}
	return waited
}

// leave forgets what is in some slots, but for what is being sent, and returns it.
func (l *lane) leave(leaving map[int]bool) (dropped []*row) {
	l.ready = slices.DeleteFunc(l.ready, func(r *row) bool {
		if leaving[r.slot] {
			dropped = append(append(dropped, r), l.drop(r)...)
		}
		return leaving[r.slot]
	})
	for _, c := range l.chains { // whose first is being sent
		if len(c.waiting) > 0 && leaving[c.waiting[0].slot] {
			dropped = append(dropped, c.waiting...)
			c.waiting = nil
		}
	}
	return dropped
}
