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

// names is a set of names of exchanges and queues. One that ends in ".*" stands for all names that begin like it.
type names map[string]bool

func (n names) add(all ...string) {
	for _, name := range all {
		n[name] = true
	}
}

// pattern returns the regular expression that matches the names in the set and no others. If it is too long, the names that
// begin with own and a dot, the queues of the service itself, become one: all that begin so.
func (n names) pattern(own string) (string, error) {
	exact := n.exact()
	if len(exact) <= MaxPattern {
		return exact, nil
	}
	folded := names{own + ".*": true}
	for name := range n {
		if !strings.HasPrefix(name, own+".") {
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
		switch {
		case segment == "*":
			pattern = ".+"
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
