package compat

import (
	"regexp/syntax"
	"strings"
)

// maxMade is how long a text that is made for a pattern may be.
const maxMade = 2000

// matching returns a text that probably matches a pattern. Variants differ in the alternatives, characters and numbers of
// repetitions that they choose. Without an anchor, a longer text would match as well.
func matching(pattern string, variant int) (string, bool) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	write(&b, re.Simplify(), variant, 0)
	return b.String(), b.Len() <= maxMade
}

func write(b *strings.Builder, re *syntax.Regexp, variant, depth int) {
	if b.Len() > maxMade || depth > 200 {
		return
	}
	times := 1
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
		return
	case syntax.OpCharClass:
		b.WriteRune(oneOf(re.Rune, variant))
		return
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte("x0 -"[variant%4])
		return
	case syntax.OpAlternate:
		write(b, re.Sub[variant%len(re.Sub)], variant, depth+1)
		return
	case syntax.OpStar, syntax.OpQuest:
		times = variant % 2
	case syntax.OpPlus:
		times = 1 + variant%4
	case syntax.OpRepeat:
		times = re.Min
		if re.Max < 0 || re.Max > re.Min {
			times += variant % 2
		}
	default:
	}
	for range times {
		for _, sub := range re.Sub {
			write(b, sub, variant, depth+1)
		}
	}
}

// oneOf returns one character of a class, which is a list of ranges: their ends in turn.
func oneOf(ranges []rune, variant int) rune {
	if len(ranges) == 0 {
		return 'x'
	}
	return ranges[variant%len(ranges)]
}
