package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
)

// A Scenario is measured with every peer that offers it.
type Scenario struct {
	Name, Title string
	Kind        measure.Kind
	// Transport is that of the peers that take part.
	Transport peers.Transport
	// Body is the size of a payload, as JSON, in bytes.
	Body int
	// N is the number of goroutines or of requests in flight, or the concurrency of handlers.
	N int
	// Work is how long a handler takes.
	Work time.Duration
	// Rate is in messages a second.
	Rate int
	// Waits names the end of the waiting time that p50 and p99 describe. It is empty if nothing waits.
	Waits string
	// Short includes the scenario in the short form, and measures it with variants of peers too.
	Short bool
}

const (
	small = 256
	large = 16 << 10

	// Window is how many publishes may wait for their confirm.
	Window = 512
	// Prefetch is how many deliveries a receiver gets ahead, at least.
	Prefetch = 64

	concurrency = 16
	retryDelay  = 500 * time.Millisecond
)

// Scenarios returns all of them, in the order in which they are measured and shown.
func Scenarios() []Scenario {
	s := []Scenario{
		{Name: "publish", Title: "Publishing, confirms pipelined", Kind: measure.Publish, Body: small, N: 1, Short: true},
		{Name: "publish-16k", Title: "Publishing, confirms pipelined, 16 KiB", Kind: measure.Publish, Body: large, N: 1},
	}
	for _, n := range []int{1, 50, 500} {
		s = append(s, Scenario{
			Name: fmt.Sprintf("waiters-%d", n), Title: fmt.Sprintf("Publishing, %d goroutines that each wait for their confirm", n),
			Kind: measure.Waiters, Body: small, N: n, Waits: "the confirm", Short: n == 50,
		})
	}
	s[2].Title = "Publishing, one goroutine that waits for each confirm"
	s = append(s,
		Scenario{Name: "waiters-50-16k", Title: "Publishing, 50 goroutines that each wait for their confirm, 16 KiB", Kind: measure.Waiters, Body: large, N: 50, Waits: "the confirm"},
		Scenario{Name: "consume", Title: "Consuming and acking", Kind: measure.Consume, Body: small, N: concurrency, Short: true},
		Scenario{Name: "consume-16k", Title: "Consuming and acking, 16 KiB", Kind: measure.Consume, Body: large, N: concurrency},
	)
	for _, n := range []int{1, 16, 64} {
		s = append(s, Scenario{
			Name: fmt.Sprintf("handler-%d", n), Title: fmt.Sprintf("A handler of 1 ms, %d at once", n),
			Kind: measure.Consume, Body: small, N: n, Work: time.Millisecond,
		})
	}
	s = append(s, Scenario{
		Name: "retry", Title: "Retry: each message fails once and comes back through a tier of 500 ms", Kind: measure.Retry, Body: small, N: concurrency,
		Waits: "coming back, beyond the 500 ms",
	})
	for _, n := range []int{1, 16, 64, 256} {
		s = append(s, Scenario{
			Name: fmt.Sprintf("call-%d", n), Title: fmt.Sprintf("Request and reply, %d in flight", n),
			Kind: measure.Call, Body: small, N: n, Waits: "the reply", Short: n == 16,
		})
	}
	for _, t := range []peers.Transport{peers.HTTP, peers.GRPC} {
		s = append(s, rpc(t)...)
	}
	return append(s,
		Scenario{Name: "call-64-16k", Title: "Request and reply, 64 in flight, 16 KiB", Kind: measure.Call, Body: large, N: 64, Waits: "the reply"},
		Scenario{Name: "latency-500", Title: "End to end at 500 messages a second", Kind: measure.Latency, Body: small, N: concurrency, Rate: 500, Waits: "the handler, from the time at which the message should have been sent"},
		Scenario{Name: "latency-2000", Title: "End to end at 2000 messages a second", Kind: measure.Latency, Body: small, N: concurrency, Rate: 2000, Waits: "the handler, from the time at which the message should have been sent"},
	)
}

// rpc returns the scenarios of requests without a broker.
func rpc(t peers.Transport) (s []Scenario) {
	name := strings.ToLower(string(t))
	for _, n := range []int{1, 16, 64} {
		s = append(s, Scenario{
			Name: fmt.Sprintf("%s-%d", name, n), Title: fmt.Sprintf("%s, %d in flight", t, n), Kind: measure.Call, Transport: t,
			Body: small, N: n, Waits: "the reply", Short: n == 16,
		})
	}
	return append(s, Scenario{
		Name: name + "-16-16k", Title: fmt.Sprintf("%s, 16 in flight, 16 KiB", t), Kind: measure.Call, Transport: t,
		Body: large, N: 16, Waits: "the reply",
	})
}

// Choose returns the scenarios with the given names, which may end in an asterisk. Without names it returns all.
func Choose(all []Scenario, names []string) ([]Scenario, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []Scenario
	for _, name := range names {
		found := false
		for _, s := range all {
			beginning, several := strings.CutSuffix(name, "*")
			if s.Name == name || several && strings.HasPrefix(s.Name, beginning) {
				found = true
				if !slices.ContainsFunc(chosen, func(have Scenario) bool { return have.Name == s.Name }) {
					chosen = append(chosen, s)
				}
			}
		}
		if !found {
			var known []string
			for _, s := range all {
				known = append(known, s.Name)
			}
			return nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

// Offers reports whether a peer can do the scenario.
func (s Scenario) Offers(p peers.Peer) bool {
	if p.Transport != s.Transport || p.Variant && !s.Short {
		return false
	}
	switch s.Kind {
	case measure.Publish:
		return p.Pipeline != nil
	case measure.Waiters:
		return p.Sender != nil
	case measure.Consume:
		// A peer that handles batches in one goroutine cannot be compared with concurrent handlers.
		return p.Work != nil && (s.Work == 0 || s.N == 1 || p.Name != peers.RawBatched)
	case measure.Retry:
		return p.Retry != nil
	case measure.Call:
		return p.Caller != nil && p.Serve != nil
	case measure.Latency:
		return p.Sender != nil && p.Work != nil
	default:
		return false
	}
}

// filled reports whether another process fills the queue first.
func (s Scenario) filled() bool { return s.Kind == measure.Consume || s.Kind == measure.Retry }

// guess returns the expected number of messages per second, for use before anything was measured.
func (s Scenario) guess() float64 {
	rate := 8000.0
	if s.Body > small {
		rate = 3000
	}
	if s.Kind == measure.Retry {
		rate = 1500
	}
	if s.Work > 0 {
		rate = min(rate, float64(s.N)*0.9/s.Work.Seconds())
	}
	return rate
}

// setting returns the Setting for the peers.
func (s Scenario) setting(url string) peers.Setting {
	n := concurrency
	if s.Kind == measure.Consume {
		n = s.N
	}
	setting := peers.Setting{
		URL: url, Queue: "bench.work", Window: Window, Concurrency: n, Prefetch: max(Prefetch, 4*n),
	}
	switch {
	case s.Kind == measure.Retry:
		setting.RetryDelay = retryDelay
	case s.Kind == measure.Consume && s.Work == 0:
		setting.Batch = setting.Prefetch
	case s.Kind == measure.Consume:
		setting.Batch = setting.Prefetch / setting.Concurrency
	}
	return setting
}
