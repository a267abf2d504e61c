package measure

import (
	"sync"
	"time"
)

// An Outcome is what the one who asked for an operation was answered.
type Outcome uint8

// The outcomes.
const (
	None    Outcome = iota // nothing yet: counts as Unknown
	OK                     // it is done, or somebody has taken responsibility for it
	Failed                 // it was certainly not done
	Unknown                // it may have been done, or may still be
)

// An Effect is that an operation was done once, as the one who did it has recorded.
type Effect struct {
	ID string
	At time.Time
}

// An Operation is an entry of a [Ledger].
type Operation struct {
	ID string
	// Asked is when it was due, and Reported when its outcome was.
	Asked, Reported time.Time
	Outcome         Outcome
	// Effects is how often it was done; First is when it was done first.
	Effects int
	First   time.Time
}

// A Ledger compares what was reported of operations with what was done. It is safe for concurrent use. Its words and
// rules are those of Jepsen: what was reported ok must have had its effect.
type Ledger struct {
	mu         sync.Mutex
	operations map[string]*Operation
	order      []*Operation
	unasked    int
}

// Ask enters an operation, which was due at that time. Its id must be new.
func (l *Ledger) Ask(id string, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.operations == nil {
		l.operations = make(map[string]*Operation)
	}
	o := &Operation{ID: id, Asked: due}
	l.operations[id] = o
	l.order = append(l.order, o)
}

// Report enters what was reported of an operation that was asked for.
func (l *Ledger) Report(id string, outcome Outcome, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.operations[id]; o != nil {
		o.Outcome, o.Reported = outcome, at
	}
}

// Effect enters that an operation was done. One that was never asked for counts as unexpected.
func (l *Ledger) Effect(e Effect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.operations[e.ID]
	if o == nil {
		l.unasked++
		return
	}
	if o.Effects == 0 || e.At.Before(o.First) {
		o.First = e.At
	}
	o.Effects++
}

// Operations returns all entries, in the order in which they were asked for.
func (l *Ledger) Operations() []Operation {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Operation, len(l.order))
	for i, o := range l.order {
		all[i] = *o
	}
	return all
}

// A Balance is what a [Ledger] comes to.
type Balance struct {
	// Asked is the number of operations. Each was reported as exactly one of OK, Failed and Unknown.
	Asked   int `json:"asked"`
	OK      int `json:"reported_ok"`
	Failed  int `json:"reported_error"`
	Unknown int `json:"reported_unknown"`
	// Effects is how often something was done.
	Effects int `json:"effects"`
	// Lost were reported ok and never done.
	Lost int `json:"lost"`
	// Twice were done more than once.
	Twice int `json:"twice"`
	// Unexpected were done although they were reported as certainly not done, or never asked for.
	Unexpected int `json:"unexpected"`
	// Recovered were done although their outcome was unknown.
	Recovered int `json:"recovered"`
}

// Balance returns what the ledger comes to now.
func (l *Ledger) Balance() Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := Balance{Asked: len(l.order), Effects: l.unasked, Unexpected: l.unasked}
	for _, o := range l.order {
		b.Effects += o.Effects
		if o.Effects > 1 {
			b.Twice++
		}
		switch done := o.Effects > 0; o.Outcome {
		case OK:
			b.OK++
			if !done {
				b.Lost++
			}
		case Failed:
			b.Failed++
			if done {
				b.Unexpected++
			}
		default:
			b.Unknown++
			if done {
				b.Recovered++
			}
		}
	}
	return b
}

// Plus returns what two ledgers come to together.
func (b Balance) Plus(c Balance) Balance {
	return Balance{
		Asked: b.Asked + c.Asked, OK: b.OK + c.OK, Failed: b.Failed + c.Failed, Unknown: b.Unknown + c.Unknown,
		Effects: b.Effects + c.Effects, Lost: b.Lost + c.Lost, Twice: b.Twice + c.Twice,
		Unexpected: b.Unexpected + c.Unexpected, Recovered: b.Recovered + c.Recovered,
	}
}
