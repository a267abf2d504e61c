package compare

import (
	"math"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/measure"
)

// How a return to normal is found: windows of a second, a tenth apart, in which this share is normal.
const (
	recoveryWindow = time.Second
	recoveryStep   = 100 * time.Millisecond
	normalShare    = 0.95
)

// A recovery is how long operations took beside what is normal.
type recovery struct {
	operations []measure.Operation
	took       []float64 // seconds; infinite if it was not done
	limit      float64   // seconds; infinite if nothing was normal before
}

func recoveryOf(a *account, t *trial, config FaultsConfig) recovery {
	r := recovery{operations: a.ledger.Operations()}
	for _, o := range r.operations {
		took := math.Inf(1)
		if at, ok := a.done(o); ok {
			took = at.Sub(o.Asked).Seconds()
		}
		r.took = append(r.took, took)
	}
	usual := r.without(func(o measure.Operation) bool { return a.reached(o, t.began) })
	before := usual.between(t.began.Add(-config.Before/2), t.began)
	r.limit = max(config.Factor*before, config.Floor.Seconds())
	return r
}

// reached reports whether an operation was not over at that time: what began then reached it.
func (a *account) reached(o measure.Operation, at time.Time) bool {
	return !o.Reported.Before(at) || a.way.Async && o.Outcome == measure.OK && (o.Effects == 0 || !o.First.Before(at))
}

// without leaves some operations out.
func (r recovery) without(leftOut func(measure.Operation) bool) (rest recovery) {
	for i, o := range r.operations {
		if !leftOut(o) {
			rest.operations, rest.took = append(rest.operations, o), append(rest.took, r.took[i])
		}
	}
	return rest
}

// between returns the time that the normal share of the operations that were due in between did not exceed; infinite
// if there were none.
func (r recovery) between(from, to time.Time) float64 {
	var took []float64
	for i, o := range r.operations {
		if !o.Asked.Before(from) && o.Asked.Before(to) {
			took = append(took, r.took[i])
		}
	}
	if len(took) == 0 {
		return math.Inf(1)
	}
	slices.Sort(took)
	return took[int(math.Ceil(normalShare*float64(len(took))))-1]
}

// untilNormal returns the seconds from the end of the fault to the first normal second; infinite if there is none
// before the load ended, and NaN if it is not known what is normal.
func (r recovery) untilNormal(end, last time.Time) float64 {
	if math.IsInf(r.limit, 1) {
		return math.NaN()
	}
	for from := end; !from.Add(recoveryWindow).After(last); from = from.Add(recoveryStep) {
		if r.between(from, from.Add(recoveryWindow)) <= r.limit {
			return from.Sub(end).Seconds()
		}
	}
	return math.Inf(1)
}
