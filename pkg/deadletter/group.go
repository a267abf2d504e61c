package deadletter

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"time"
)

// A Group is the letters of one source that failed for the same reason.
type Group struct {
	Code, Reason string
	Count        int
	// Oldest and Newest are when the first and the last of them was dead-lettered; zero if unknown.
	Oldest, Newest time.Time
	// Error is the error message of the newest. Those of the others differ in numbers, ids and quoted values only.
	Error string
	// Rest says that these are the letters of all other groups, which are too many.
	Rest bool

	pattern string
}

// maxGroups is how many groups there may be, besides that of the rest.
const maxGroups = 100

// Groups groups the first limit letters of a source by why they failed, the largest group first, and returns how many
// letters there are in all. It counts only letters for which pick returns true; a nil pick counts all.
func (s *Store) Groups(ctx context.Context, from Source, limit int, pick func(*Letter) bool) (groups []Group, total int, err error) {
	rest := Group{Rest: true}
	total, err = s.Peek(ctx, from, limit, func(letter *Letter) bool {
		if pick != nil && !pick(letter) {
			return true
		}
		pattern := pattern(letter.Error)
		i := slices.IndexFunc(groups, func(g Group) bool {
			return g.Code == letter.Code && g.Reason == letter.Reason && g.pattern == pattern
		})
		switch {
		case i >= 0:
			groups[i].take(letter)
		case len(groups) == maxGroups:
			rest.take(letter)
		default:
			groups = append(groups, Group{Code: letter.Code, Reason: letter.Reason, pattern: pattern})
			groups[len(groups)-1].take(letter)
		}
		return true
	})
	slices.SortStableFunc(groups, func(a, b Group) int { return cmp.Compare(b.Count, a.Count) })
	if rest.Count > 0 {
		groups = append(groups, rest)
	}
	return groups, total, err
}

func (g *Group) take(l *Letter) {
	g.Count++
	at := l.FailedAt
	if g.Oldest.IsZero() || !at.IsZero() && at.Before(g.Oldest) {
		g.Oldest = at
	}
	if g.Error == "" || !at.Before(g.Newest) {
		g.Error = l.Error
	}
	if at.After(g.Newest) {
		g.Newest = at
	}
}

// variable is what differs in messages of the same error: quoted values, and words with a digit, such as numbers, ids,
// addresses and times.
var variable = regexp.MustCompile("\"[^\"]*\"|`[^`]*`|\\B'[^']*'|[^\\s\"'`(){}\\[\\],;=]*[0-9][^\\s\"'`(){}\\[\\],;=]*")

// pattern is an error message without what differs.
func pattern(message string) string { return variable.ReplaceAllString(message, "…") }
