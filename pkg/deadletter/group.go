package deadletter

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"time"
)

// A Group is the letters of one work queue that failed for the same reason.
type Group struct {
	// Queue is the work queue in which they failed. Contract is that of the newest.
	Queue, Contract string
	Code, Reason    string
	Count           int
	// Oldest and Newest are when the first and the last of them failed, or was sent: see [Letter.Since]. Zero if unknown.
	Oldest, Newest time.Time
	// FirstDue and LastDue are when the first and the last of them goes back to its queue; zero if unknown.
	FirstDue, LastDue time.Time
	// Error is the error message of the newest. Those of the others differ in numbers, ids and quoted values only.
	Error string
	// Delayed says that they have not failed: see [Letter.Delayed].
	Delayed bool
	// Rest says that these are the letters of all other groups of their queue, which are too many.
	Rest bool
}

// maxGroups is how many groups a queue may have, besides that of the rest.
const maxGroups = 100

// Groups groups letters by work queue and reason. The zero value has none.
type Groups struct {
	all   []Group
	index map[groupKey]int
	of    map[string]int // how many groups a queue has
}

type groupKey struct {
	queue, code, reason, pattern string
	delayed, rest                bool
}

// Add adds a letter to its group.
func (g *Groups) Add(l *Letter) {
	if g.index == nil {
		g.index, g.of = map[groupKey]int{}, map[string]int{}
	}
	key := groupKey{queue: l.Queue, code: l.Code, reason: l.Reason, pattern: pattern(l.Error), delayed: l.Delayed}
	if _, known := g.index[key]; !known && g.of[l.Queue] >= maxGroups {
		key = groupKey{queue: l.Queue, rest: true}
	}
	i, known := g.index[key]
	if !known {
		i = len(g.all)
		g.index[key] = i
		g.of[l.Queue]++
		g.all = append(g.all, Group{Queue: l.Queue, Code: key.code, Reason: key.reason, Delayed: key.delayed, Rest: key.rest})
	}
	g.all[i].take(l)
}

// List returns the groups in the order of their queues, the largest of each first, and what is left of a queue last.
func (g *Groups) List() []Group {
	slices.SortStableFunc(g.all, func(a, b Group) int {
		switch {
		case a.Queue != b.Queue:
			return cmp.Compare(a.Queue, b.Queue)
		case a.Rest:
			return 1
		case b.Rest:
			return -1
		default:
			return cmp.Compare(b.Count, a.Count)
		}
	})
	g.index, g.of = nil, nil // they no longer fit
	return g.all
}

// Groups groups the first limit letters of a source by queue and reason, the largest group of a queue first, and
// returns how many letters there are in all. It counts only letters for which pick returns true; a nil pick counts all.
func (s *Store) Groups(ctx context.Context, from Source, limit int, pick func(*Letter) bool) (groups []Group, total int, err error) {
	var g Groups
	total, err = s.Peek(ctx, from, limit, func(letter *Letter) bool {
		if pick == nil || pick(letter) {
			g.Add(letter)
		}
		return true
	})
	return g.List(), total, err
}

func (g *Group) take(l *Letter) {
	g.Count++
	at := l.Since()
	if g.Oldest.IsZero() || !at.IsZero() && at.Before(g.Oldest) {
		g.Oldest = at
	}
	if g.Count == 1 || !at.Before(g.Newest) {
		g.Error, g.Contract = l.Error, l.Contract
	}
	if at.After(g.Newest) {
		g.Newest = at
	}
	if g.FirstDue.IsZero() || !l.DueAt.IsZero() && l.DueAt.Before(g.FirstDue) {
		g.FirstDue = l.DueAt
	}
	if l.DueAt.After(g.LastDue) {
		g.LastDue = l.DueAt
	}
}

// variable is what differs in messages of the same error: quoted values, and words with a digit, such as numbers, ids,
// addresses and times.
var variable = regexp.MustCompile("\"[^\"]*\"|`[^`]*`|\\B'[^']*'|[^\\s\"'`(){}\\[\\],;=]*[0-9][^\\s\"'`(){}\\[\\],;=]*")

// pattern is an error message without what differs.
func pattern(message string) string { return variable.ReplaceAllString(message, "…") }
