package growth

import (
	"fmt"
	"math"
	"slices"
)

// A Law is how a figure depends on the size, computed from what was measured.
type Law struct {
	Kind Kind
	// Base and Each describe a line: Base + Each × size.
	Base, Each float64 `json:",omitempty"`
	// From is the size from which the figure grows, or falls, no further.
	From int `json:",omitempty"`
	// Exponent is that of the power of the size that comes closest.
	Exponent float64 `json:",omitempty"`
}

// A Kind is the form of a law.
type Kind string

// The kinds of law, of which the first that holds is taken. A line that is close comes before a level, and one that is
// just close enough after it.
const (
	Unknown  Kind = ""         // fewer than two sizes
	Constant Kind = "constant" // the largest is at most the tolerance times the smallest
	TooFew   Kind = "too few"  // it changes, but two sizes do not say how
	Linear   Kind = "linear"   // a line comes as close to each value as the tolerance allows
	Level    Kind = "level"    // constant from the size From on
	Power    Kind = "power"    // none of these
)

// A tolerance says when two values are taken for the same: if their ratio is at most this, or both are below the floor.
type tolerance struct{ ratio, floor float64 }

// Counts are nearly exact. Memory depends on when things happen, and times and rates on what else the machine does.
var (
	counted = tolerance{ratio: 1.2}
	batched = tolerance{ratio: 1.5, floor: 0.25} // frames for several messages at once, as acks and confirms are
	stored  = tolerance{ratio: 1.5}
	timed   = tolerance{ratio: 2}
	lasting = tolerance{ratio: 2, floor: 0.25} // seconds: less is not worth a law
)

// lawOf finds the law of a figure. Sizes grow.
func lawOf(sizes []int, measured []float64, t tolerance) Law {
	values := make([]float64, len(measured))
	for i, v := range measured {
		values[i] = max(v, t.floor)
	}
	switch {
	case len(sizes) < 2:
		return Law{Kind: Unknown}
	case t.same(values):
		return Law{Kind: Constant}
	case len(sizes) == 2:
		return Law{Kind: TooFew}
	}
	base, each, off := line(sizes, values, t)
	if off <= math.Sqrt(t.ratio) {
		return Law{Kind: Linear, Base: base, Each: each}
	}
	for i := 1; i <= len(values)-2; i++ {
		// What grows as the size does must not look level between two sizes that are close to each other.
		apart := float64(sizes[len(sizes)-1]) >= t.ratio*t.ratio*float64(sizes[i])
		if apart && t.same(values[i:]) {
			return Law{Kind: Level, From: sizes[i]}
		}
	}
	if off <= t.ratio {
		return Law{Kind: Linear, Base: base, Each: each}
	}
	return Law{Kind: Power, Exponent: exponent(sizes, values)}
}

func (t tolerance) same(values []float64) bool {
	return slices.Max(values) <= t.ratio*slices.Min(values)
}

// smallest is the part of the largest value below which a deviation does not count.
const smallest = 0.02

// line finds the rising line that comes closest to the values, and the worst ratio of a value to the line's, which is
// infinite where there is no such line.
func line(sizes []int, values []float64, t tolerance) (base, each, off float64) {
	floor := smallest * slices.Max(values)
	off = math.Inf(1)
	for _, c := range candidates(sizes, values, floor) {
		from, to := c.base+c.each*float64(sizes[0]), c.base+c.each*float64(sizes[len(sizes)-1])
		if c.base < 0 || !(to > t.ratio*from) {
			continue // it does not rise by more than noise does
		}
		worst := 1.0
		for i, size := range sizes {
			on, is := max(c.base+c.each*float64(size), floor), max(values[i], floor)
			worst = max(worst, on/is, is/on)
		}
		if worst < off {
			base, each, off = c.base, c.each, worst
		}
	}
	return base, each, off
}

type straight struct{ base, each float64 }

// candidates are lines by the least squares of the relative deviations, with a base and through nothing; the latter from
// each value; and those from the first value to each other.
func candidates(sizes []int, values []float64, floor float64) (all []straight) {
	var s, sx, sy, sxx, sxy float64
	first, begin := float64(sizes[0]), values[0]
	for i, size := range sizes {
		x, y := float64(size), values[i]
		w := 1 / math.Pow(max(y, floor), 2)
		s, sx, sy, sxx, sxy = s+w, sx+w*x, sy+w*y, sxx+w*x*x, sxy+w*x*y
		all = append(all, straight{0, y / x})
		if i > 0 {
			each := (y - begin) / (x - first)
			all = append(all, straight{begin - each*first, each})
		}
	}
	each := (s*sxy - sx*sy) / (s*sxx - sx*sx)
	return append(all, straight{(sy - each*sx) / s, each}, straight{0, sxy / sxx})
}

// exponent is the slope where both axes are logarithmic.
func exponent(sizes []int, values []float64) float64 {
	floor := slices.Max(values) / 1e9 // nothing has no logarithm
	var n, sx, sy, sxx, sxy float64
	for i, size := range sizes {
		x, y := math.Log(float64(max(size, 1))), math.Log(max(values[i], floor))
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// String says what the law is, in a few words.
func (l Law) String() string {
	switch l.Kind {
	case Constant:
		return "constant"
	case TooFew:
		return "not constant"
	case Linear:
		if l.Base < l.Each/10 {
			return fmt.Sprintf("linear: %s for each", Short(l.Each))
		}
		return fmt.Sprintf("linear: %s, and %s for each", Short(l.Base), Short(l.Each))
	case Level:
		return fmt.Sprintf("constant from %d on", l.From)
	case Power:
		switch {
		case math.Abs(l.Exponent-1) <= 0.1:
			return "about as the size"
		case l.Exponent > 0.1:
			return fmt.Sprintf("grows, with the power %.1f", l.Exponent)
		case l.Exponent < -0.1:
			return fmt.Sprintf("falls, with the power %.1f", l.Exponent)
		}
		return "up and down"
	default:
		return "–"
	}
}

// Short writes a figure with as many digits as say something.
func Short(v float64) string {
	switch size := math.Abs(v); {
	case v == 0:
		return "0"
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 0.1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.2g", v)
	}
}
