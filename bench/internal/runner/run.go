// Package runner measures scenarios with peers in interleaved rounds, with one process per measurement.
package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/process"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// A Sample is one measurement.
type Sample struct {
	Scenario, Peer string
	Round          int
	Result         measure.Result
	Err            string `json:",omitempty"`
}

// Config configures a run.
type Config struct {
	Scenarios []Scenario
	Peers     []peers.Peer
	Rounds    int
	// Budget bounds the time of all rounds, by the length of each measurement.
	Budget time.Duration
	// Shortest and Longest bound the length of one measurement.
	Shortest, Longest time.Duration
	// Progress receives progress messages.
	Progress io.Writer
	// Save is called after each round with all samples so far.
	Save func([]Sample) error
}

// overhead is the additional time per measurement, for processes, connections and a new virtual host.
const overhead = 300 * time.Millisecond

// shortestWarm is the minimum length of a warm-up.
const shortestWarm = 300 * time.Millisecond

// Run measures everything. Failed measurements are reported in the samples; an error means that the run cannot
// continue.
func Run(ctx context.Context, node *devbroker.Broker, c Config) ([]Sample, error) {
	r := newRounds(node, c)
	began := time.Now()
	length := r.first()
	for n := range c.Rounds {
		started := time.Now()
		fmt.Fprintf(c.Progress, "round %d of %d, %v for each of %d measurements\n", n+1, c.Rounds, length.Round(10*time.Millisecond), r.count())
		if err := r.round(ctx, n, length); err != nil {
			return r.samples, err
		}
		if c.Save != nil {
			if err := c.Save(r.samples); err != nil {
				return r.samples, err
			}
		}
		if left := c.Rounds - n - 1; left > 0 {
			length = r.next(length, time.Since(started), (c.Budget-time.Since(began))/time.Duration(left))
		}
	}
	return r.samples, nil
}

// AtLeast returns approximately how long all rounds take with measurements of the shortest length.
func AtLeast(c Config) time.Duration {
	return time.Duration(c.Rounds*newRounds(nil, c).count()) * (overhead + warmFor(c.Shortest) + c.Shortest)
}

func newRounds(node *devbroker.Broker, c Config) *rounds {
	return &rounds{Config: c, node: node, rates: make(map[key]float64), failed: make(map[key]int)}
}

// warmFor returns the length of the warm-up for a measurement of the given length.
func warmFor(length time.Duration) time.Duration {
	return min(max(length/3, shortestWarm), time.Second)
}

type key struct{ scenario, peer string }

type rounds struct {
	Config
	node    *devbroker.Broker
	samples []Sample
	rates   map[key]float64 // messages a second, as measured last
	failed  map[key]int     // how often in a row
	serial  int
}

// count returns the number of measurements in a round.
func (r *rounds) count() int {
	n := 0
	for _, s := range r.Scenarios {
		for _, p := range r.Peers {
			if s.Offers(p) {
				n++
			}
		}
	}
	return n
}

func (r *rounds) fixed() time.Duration { return time.Duration(r.count()) * overhead }

// first returns the length of a measurement in the first round. Filling a queue takes about as long as emptying it.
func (r *rounds) first() time.Duration {
	per := r.Budget/time.Duration(r.Rounds) - r.fixed()
	return r.within(per / time.Duration(max(r.count(), 1)) * 2 / 3)
}

// next returns the length of a measurement for which a round takes its share of the remaining time.
func (r *rounds) next(last, took, left time.Duration) time.Duration {
	variable := max(took-r.fixed(), took/4)
	wanted := left - (took - variable)
	grown := min(max(float64(wanted)/float64(variable), 0.5), 2) // a noisy round must not make the next one useless
	return r.within(time.Duration(float64(last) * grown))
}

func (r *rounds) within(d time.Duration) time.Duration { return min(max(d, r.Shortest), r.Longest) }

// round measures each scenario with each peer once, with the peers in a different order each time.
func (r *rounds) round(ctx context.Context, n int, length time.Duration) error {
	for _, s := range r.Scenarios {
		order := make([]peers.Peer, 0, len(r.Peers))
		for _, p := range r.Peers {
			if s.Offers(p) {
				order = append(order, p)
			}
		}
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, p := range order {
			k := key{s.Name, p.Name}
			if r.failed[k] >= 2 { // trying again would only cost time
				continue
			}
			result, err := r.measure(ctx, s, p, length, "")
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			sample := Sample{Scenario: s.Name, Peer: p.Name, Round: n, Result: result}
			if err != nil {
				r.failed[k]++
				sample.Err = err.Error()
				fmt.Fprintf(r.Progress, "  %-16s %-12s FAILED: %v\n", s.Name, p.Name, err)
			} else {
				r.failed[k], r.rates[k] = 0, result.Rate()
				fmt.Fprintf(r.Progress, "  %-16s %-12s %9.0f/s  p99 %8.2f ms  %6.1f µs CPU  %6.1f allocs\n", s.Name, p.Name,
					result.Rate(), result.P99*1e3, result.PerMessage(result.CPU)*1e6, result.PerMessage(float64(result.Allocs)))
			}
			r.samples = append(r.samples, sample)
		}
	}
	return nil
}

// measure does one measurement in a separate virtual host.
func (r *rounds) measure(ctx context.Context, s Scenario, p peers.Peer, length time.Duration, profile string) (measure.Result, error) {
	r.serial++
	name := fmt.Sprintf("bench-%d", r.serial)
	url, err := r.node.VHost(ctx, name)
	if err != nil {
		return measure.Result{}, err
	}
	result, err := r.task(ctx, s, p, url, length, profile)
	if ctx.Err() != nil {
		return result, err
	}
	return result, errors.Join(err, r.node.DeleteVHost(ctx, name))
}

func (r *rounds) task(ctx context.Context, s Scenario, p peers.Peer, url string, length time.Duration, profile string) (measure.Result, error) {
	warm := warmFor(length)
	if s.Kind == measure.Latency { // what waits since the start, for a consumer that begins with one at a time, must be through
		warm = time.Second
	}
	t := measure.Task{
		Kind: s.Kind, Peer: p.Name, Setting: s.setting(url), Body: s.Body, N: s.N, Rate: s.Rate, Work: s.Work,
		Warm: warm, Duration: length, Profile: profile,
	}
	limit := 20*length + time.Minute
	if s.filled() {
		rate := r.rates[key{s.Name, p.Name}]
		if rate == 0 {
			rate = s.guess()
		}
		measured := max(int(rate*length.Seconds()), 200)
		t.Skip = max(measured/4, 1)
		t.Messages = measured + t.Skip
		if s.Kind == measure.Retry {
			t.Messages = measured
		}
		fill := t
		fill.Kind, fill.Peer, fill.Profile = measure.Fill, cmp.Or(p.FilledBy, p.Name), ""
		fill.Setting.Concurrency = concurrency
		if _, err := once(ctx, fill, limit); err != nil {
			return measure.Result{}, fmt.Errorf("fill the queue: %w", err)
		}
	}
	if s.Kind != measure.Call {
		return once(ctx, t, limit)
	}
	if s.Transport != peers.RabbitMQ {
		var err error
		if t.Setting.Address, err = freeAddress(ctx); err != nil {
			return measure.Result{}, err
		}
	}
	serve := t
	serve.Kind, serve.Profile = measure.Serve, ""
	server, err := process.Start(ctx, serve)
	if err != nil {
		return measure.Result{}, err
	}
	if err := server.Ready(ctx); err != nil {
		server.Kill()
		return measure.Result{}, fmt.Errorf("the server: %w", err)
	}
	result, err := once(ctx, t, limit)
	server.Stop()
	served, serverErr := server.Wait(limit)
	if served.Messages > 0 {
		result.Extra = map[string]float64{"server CPU": served.CPU / float64(served.Messages)}
	}
	if serverErr != nil {
		serverErr = fmt.Errorf("the server: %w", serverErr)
	}
	return result, errors.Join(err, serverErr)
}

// freeAddress returns an address of this machine on which nothing listens.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// once performs a task in a separate process.
func once(ctx context.Context, t measure.Task, limit time.Duration) (measure.Result, error) {
	child, err := process.Start(ctx, t)
	if err != nil {
		return measure.Result{}, err
	}
	return child.Wait(limit)
}
