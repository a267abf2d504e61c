package rabbit

import (
	"cmp"
	"slices"
	"sync"
)

// A pool holds what the users of a connection share, so that any number of them needs few channels. Its zero value is
// ready to use.
type pool[T any] struct {
	mu  sync.Mutex
	all []*pooled[T] // each has users
}

type pooled[T any] struct {
	made  T
	users int
}

// take returns a new T while there are fewer than most of them, and then the one with the fewest users. The function that it
// returns must be called once, and reports whether this was the last user: then it is the caller's to end.
func (p *pool[T]) take(most int, create func() T) (made T, leave func() (last bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) < most {
		p.all = append(p.all, &pooled[T]{made: create()})
	}
	s := slices.MinFunc(p.all, func(a, b *pooled[T]) int { return cmp.Compare(a.users, b.users) })
	s.users++
	return s.made, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if s.users--; s.users > 0 {
			return false
		}
		p.all = slices.DeleteFunc(p.all, func(other *pooled[T]) bool { return other == s })
		return true
	}
}
