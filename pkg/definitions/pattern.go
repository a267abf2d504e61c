package definitions

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// MaxPattern is how long a pattern of a permission may be, in bytes. RabbitMQ 4.3 takes little more.
const MaxPattern = 1000

// many stands in a name for any text: no name has it.
const many = "\x00"

// names is a set of names of exchanges and queues. One with [many] as a segment, once, stands for all names that fit.
type names map[string]bool

func (n names) add(all ...string) {
	for _, name := range all {
		n[name] = true
	}
}

// cover reports whether a name is in the set, or fits one that stands for many.
func (n names) cover(name string) bool {
	if n[name] {
		return true
	}
	for other := range n {
		begin, end, ok := strings.Cut(other, many) // each has one
		if ok && len(name) > len(begin)+len(end) && strings.HasPrefix(name, begin) && strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// pattern returns the regular expression that matches the names in the set and no others. If it is too long, the names
// that those in folds stand for are replaced by these.
func (n names) pattern(folds names) (string, error) {
	exact := n.exact()
	if len(exact) <= MaxPattern {
		return exact, nil
	}
	folded := names{}
	for fold := range folds {
		one := names{fold: true}
		for name := range n {
			if one.cover(name) {
				folded.add(fold)
			}
		}
	}
	for name := range n {
		if !folded.cover(name) {
			folded.add(name)
		}
	}
	if shorter := folded.exact(); len(shorter) <= MaxPattern {
		return shorter, nil
	}
	return "", fmt.Errorf("its pattern has %d bytes; RabbitMQ takes %d: split the service", len(exact), MaxPattern)
}

func (n names) exact() string {
	if len(n) == 0 {
		return "^$"
	}
	var all segments
	for name := range n {
		all.add(strings.Split(name, "."))
	}
	return "^" + all.alternatives() + "$"
}

// segments are names as a tree: of those that share their first segments, these are written once.
type segments struct {
	ends bool // a name ends here
	next map[string]*segments
}

func (s *segments) add(name []string) {
	if len(name) == 0 {
		s.ends = true
		return
	}
	if s.next == nil {
		s.next = make(map[string]*segments)
	}
	if s.next[name[0]] == nil {
		s.next[name[0]] = new(segments)
	}
	s.next[name[0]].add(name[1:])
}

// alternatives returns the pattern of what follows, in parentheses where there is more than one.
func (s *segments) alternatives() string {
	all := make([]string, 0, len(s.next))
	for _, segment := range slices.Sorted(maps.Keys(s.next)) {
		next := s.next[segment]
		pattern := regexp.QuoteMeta(segment)
		if segment == many {
			pattern = ".+"
		}
		switch {
		case len(next.next) == 0:
		case next.ends:
			pattern += `(\.` + next.alternatives() + ")?"
		default:
			pattern += `\.` + next.alternatives()
		}
		all = append(all, pattern)
	}
	if len(all) == 1 {
		return all[0]
	}
	return "(" + strings.Join(all, "|") + ")"
}
