package deadletter

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// A Group is the dead letters of one queue that failed for the same reason.
type Group struct {
	Queue        string
	Code, Reason string
	Count        int
	// Oldest and Newest are when the first and the last of them was dead-lettered; zero if unknown.
	Oldest, Newest time.Time
	// Error is the error message of the newest.
	Error string
}

// Groups groups the first limit dead letters of a work queue by why they failed, the largest group first, and returns
// how many dead letters there are in all. It counts only letters for which pick returns true; a nil pick counts all.
func (s *Store) Groups(ctx context.Context, from Source, limit int, pick func(*Letter) bool) (groups []Group, total int, err error) {
	total, err = s.Peek(ctx, from, limit, func(letter *Letter) bool {
		if pick != nil && !pick(letter) {
			return true
		}
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Code == letter.Code && g.Reason == letter.Reason })
		if i < 0 {
			groups = append(groups, Group{Queue: letter.Queue, Code: letter.Code, Reason: letter.Reason})
			i = len(groups) - 1
		}
		groups[i].take(letter)
		return true
	})
	slices.SortStableFunc(groups, func(a, b Group) int { return cmp.Compare(b.Count, a.Count) })
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
