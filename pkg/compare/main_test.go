package compare_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/measure"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

// receivers are a system in memory, whose faults are exact.
type receivers struct {
	mu      sync.Mutex
	effects []measure.Effect
	asked   map[string]int // how often each way was
	dead    bool
	slow    time.Duration // added to every operation
	healed  chan struct{}
}

func newReceivers() *receivers { return &receivers{asked: make(map[string]int)} }

func (r *receivers) Effects(context.Context) ([]measure.Effect, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.effects
	r.effects = nil
	return all, nil
}

// handle records an effect, n times.
func (r *receivers) handle(id string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range n {
		r.effects = append(r.effects, measure.Effect{ID: id, At: time.Now()})
	}
}

// next numbers the operations of a way, from 1.
func (r *receivers) next(way string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[way]++
	return r.asked[way]
}

func (r *receivers) state() (dead bool, slow time.Duration, healed chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead, r.slow, r.healed
}

// kill makes the receivers dead until they are healed.
func (r *receivers) kill(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead, r.healed = true, make(chan struct{})
	return nil
}

func (r *receivers) heal(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = false
	close(r.healed)
	return nil
}

func (r *receivers) slowDown(d time.Duration) func(context.Context) error {
	return func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.slow = d
		return nil
	}
}

// sync is a way whose caller waits for as long as the work takes.
func (r *receivers) sync(name string, takes time.Duration) compare.Way {
	return compare.Way{Name: name, Label: "Way " + name, Do: func(ctx context.Context, id string) error {
		dead, slow, _ := r.state()
		if dead {
			return leveret.ErrNotConnected
		}
		if !sleep(ctx, takes+slow) {
			return leveret.ErrOutcomeUnknown
		}
		r.handle(id, 1)
		return nil
	}}
}

// queue is a way whose work waits while the receivers are dead.
func (r *receivers) queue(name string, takes time.Duration) compare.Way {
	return compare.Way{Name: name, Label: "Way " + name, Async: true, Do: func(ctx context.Context, id string) error {
		sleep(ctx, time.Millisecond)
		dead, slow, healed := r.state()
		go func() {
			if dead {
				<-healed
			}
			time.Sleep(takes + slow)
			r.handle(id, 1)
		}()
		return nil
	}}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func faked(r *receivers, ways ...compare.Way) compare.Config {
	return compare.Config{Ways: ways, Source: r, Sleep: time.Sleep}
}
