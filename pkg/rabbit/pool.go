package rabbit

import (
	"maps"
	"slices"
	"sync"
)

// A pool holds what the users of a connection share, so that any number of them needs few channels. Its zero value is
// ready to use.
type pool[T comparable] struct {
	mu    sync.Mutex
	users map[T]int // at least one of each
}

// take returns a new T while there are fewer than most, and then the one with the fewest users. The function that it returns
// must be called once, and reports whether this was the last user: then T is the caller's to end.
func (p *pool[T]) take(most int, create func() T) (made T, leave func() (last bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == nil {
		p.users = make(map[T]int)
	}
	if len(p.users) < most {
		p.users[create()] = 0
	}
	made = slices.MinFunc(slices.Collect(maps.Keys(p.users)), func(a, b T) int { return p.users[a] - p.users[b] })
	p.users[made]++
	return made, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.users[made]--; p.users[made] > 0 {
			return false
		}
		delete(p.users, made)
		return true
	}
}
