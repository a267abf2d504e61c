package compat

import (
	"fmt"
	"regexp/syntax"
	"slices"
)

const (
	// maxStates is how many states are visited to compare two patterns.
	maxStates = 1000
	// maxProgram is how long the programs of patterns may be to be compared.
	maxProgram = 500
	// maxWitnesses is how many texts are returned that one pattern matches and the other does not.
	maxWitnesses = 30
)

// includes reports whether it is certain that every text that pattern a matches is matched by b, and returns short texts
// for which it is not so. As in JSON Schema, a pattern without anchors matches anywhere in a text.
func includes(a, b string) (included bool, witnesses []string) {
	x, errX := newAutomaton(a)
	y, errY := newAutomaton(b)
	if errX != nil || errY != nil {
		return false, nil
	}
	letters := alphabet(x, y)
	type pair struct {
		x, y reach
		text string
	}
	start := pair{x: reach{first: true}, y: reach{first: true}}
	seen := map[string]bool{start.x.id() + "|" + start.y.id(): true}
	for queue := []pair{start}; len(queue) > 0; queue = queue[1:] {
		p := queue[0]
		if x.accepts(p.x) && !y.accepts(p.y) {
			if witnesses = append(witnesses, p.text); len(witnesses) == maxWitnesses {
				return false, witnesses
			}
		}
		if y.settled(p.y) { // whatever follows is matched by b
			continue
		}
		for _, r := range letters {
			next := pair{x.step(p.x, r), y.step(p.y, r), p.text + string(r)}
			id := next.x.id() + "|" + next.y.id()
			if seen[id] || len(next.x.at) == 0 && !next.x.matched && x.anchored {
				continue
			}
			if len(seen) == maxStates {
				return false, witnesses
			}
			seen[id] = true
			queue = append(queue, next)
		}
	}
	return len(witnesses) == 0, witnesses
}

// An automaton is a pattern that is run on all texts at once.
type automaton struct {
	prog     *syntax.Prog
	anchored bool // it matches at the beginning of a text only
}

// reach is where an automaton is after some text.
type reach struct {
	at      []uint32
	first   bool // nothing was read yet
	matched bool // whatever follows
}

func (r reach) id() string { return fmt.Sprint(r.at, r.first, r.matched) }

func newAutomaton(pattern string) (*automaton, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, err
	}
	for _, inst := range prog.Inst {
		switch {
		case len(prog.Inst) > maxProgram,
			inst.Op == syntax.InstEmptyWidth && syntax.EmptyOp(inst.Arg)&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0,
			inst.Op == syntax.InstRune && syntax.Flags(inst.Arg)&syntax.FoldCase != 0:
			return nil, fmt.Errorf("the pattern %q is too rich", pattern)
		}
	}
	return &automaton{prog, prog.StartCond()&syntax.EmptyBeginText != 0}, nil
}

// closure returns the instructions that are reached without reading a character.
func (m *automaton) closure(r reach, end bool) map[uint32]bool {
	found := map[uint32]bool{}
	stack := append(slices.Clone(r.at), uint32(m.prog.Start))
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if found[pc] {
			continue
		}
		found[pc] = true
		switch inst := m.prog.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, inst.Out)
		case syntax.InstEmptyWidth:
			need := syntax.EmptyOp(inst.Arg)
			if (need&syntax.EmptyBeginText == 0 || r.first) && (need&syntax.EmptyEndText == 0 || end) {
				stack = append(stack, inst.Out)
			}
		default:
		}
	}
	return found
}

func (m *automaton) matches(reached map[uint32]bool) bool {
	for pc := range reached {
		if m.prog.Inst[pc].Op == syntax.InstMatch {
			return true
		}
	}
	return false
}

// accepts reports whether a text that ends here is matched.
func (m *automaton) accepts(r reach) bool { return r.matched || m.matches(m.closure(r, true)) }

// settled reports whether a text is matched however it goes on.
func (m *automaton) settled(r reach) bool { return r.matched || m.matches(m.closure(r, false)) }

func (m *automaton) step(r reach, char rune) reach {
	if r.matched {
		return r
	}
	reached := m.closure(r, false)
	if m.matches(reached) {
		return reach{matched: true}
	}
	next := reach{}
	for pc := range reached {
		inst := m.prog.Inst[pc]
		switch inst.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if inst.MatchRune(char) {
				next.at = append(next.at, inst.Out)
			}
		default:
		}
	}
	slices.Sort(next.at)
	next.at = slices.Compact(next.at)
	return next
}

// alphabet returns one character for each set of characters that neither automaton tells apart, those that people know
// best where there is a choice.
func alphabet(machines ...*automaton) []rune {
	bounds := []rune{0, '\n', '\n' + 1, 0xD800, 0xE000}
	for _, m := range machines {
		bounds = append(bounds, m.bounds()...)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	var letters []rune
	for i, low := range bounds {
		high := rune(0x10FFFF)
		if i+1 < len(bounds) {
			high = bounds[i+1] - 1
		}
		if low > 0x10FFFF || low == 0xD800 {
			continue
		}
		pick := low
		for _, liked := range "aA0_-. zx" {
			if low <= liked && liked <= high {
				pick = liked
				break
			}
		}
		letters = append(letters, pick)
	}
	slices.SortStableFunc(letters, func(a, b rune) int { return rank(a) - rank(b) })
	return letters
}

// bounds returns where the ranges of characters begin that the automaton tells apart.
func (m *automaton) bounds() []rune {
	var all []rune
	for _, inst := range m.prog.Inst {
		if inst.Op != syntax.InstRune && inst.Op != syntax.InstRune1 {
			continue
		}
		for i, r := range inst.Rune { // pairs of first and last, or one alone
			if i%2 == 1 || len(inst.Rune) == 1 {
				all = append(all, r+1)
			}
			if i%2 == 0 {
				all = append(all, r)
			}
		}
	}
	return all
}

// rank puts printable characters of ASCII first.
func rank(r rune) int {
	if ' ' < r && r < 0x7F {
		return 0
	}
	return 1
}
