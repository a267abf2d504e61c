// Package growth measures how Leveret's costs grow with the number of contracts, queues, workers, callers, messages and
// dead letters, and with the size of messages, and finds the law of each.
package growth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/leveretmq/leveret/bench/internal/machine"
	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/process"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// A Series is what was measured while one thing grew.
type Series struct {
	// Name is short: "dead-letters". Title is for people, and Of is what the sizes count.
	Name, Title, Of string
	// About says what was done at each size.
	About string
	// Load is the machine's when the series began.
	Load string
	// Sizes are those that were measured.
	Sizes   []int
	Figures []Figure
	// Missing says why other sizes were not measured.
	Missing []string `json:",omitempty"`
}

// A Figure is one thing that was measured.
type Figure struct {
	// Name has the unit: "goroutines", "start, s".
	Name string
	// Values are those of the sizes, in order.
	Values []float64
	Law    Law
}

// Config configures the measurements.
type Config struct {
	// Budget limits the time: a size that is likely to take too long is left out, but never the first three. Short limits
	// the sizes instead.
	Budget time.Duration
	Short  bool
	// Only names the series to measure. Default: all.
	Only     []string
	Progress io.Writer
}

// A plan is how a series is measured.
type plan struct {
	name, title, of, about string
	full, short            []int // no short ones: not in the short form
	share                  float64
	figures                []kind
	do                     func(ctx context.Context, g *grower, size int, found values) error
}

// A kind of figure, and when two of its values are taken for the same.
type kind struct {
	name string
	tolerance
}

type values map[string]float64

// plans are all series. Each has a share of the time that those before it have left.
var plans = []plan{contracts, queues, workers, processes, callers, letters, sharedTier, ownTier, bodies, backlog, nodes}

// Names are those of all series.
func Names() (all []string) {
	for _, p := range plans {
		all = append(all, p.name)
	}
	return all
}

// Run measures all series. Errors are reported in them.
func Run(ctx context.Context, node *devbroker.Broker, c Config) ([]Series, error) {
	g := &grower{Config: c, node: node}
	until := time.Now().Add(c.Budget)
	var all []Series
	for _, p := range plans {
		sizes := p.full
		if c.Short {
			sizes = p.short
		}
		if len(c.Only) > 0 && !slices.Contains(c.Only, p.name) {
			continue
		}
		if len(sizes) == 0 {
			continue
		}
		all = append(all, g.series(ctx, p, sizes, time.Now().Add(time.Duration(float64(time.Until(until))*p.share))))
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
	}
	return all, nil
}

type grower struct {
	Config
	node   *devbroker.Broker
	now    string // the series that is measured
	serial int
}

// always is how many sizes are measured, however long they take: fewer show no law.
const always = 3

// series measures one size after the other.
func (g *grower) series(ctx context.Context, p plan, sizes []int, until time.Time) Series {
	g.now = p.name
	s := Series{Name: p.name, Title: p.title, Of: p.of, About: p.about, Load: machine.Load()}
	var rows []values
	var last time.Duration
	for i, size := range sizes {
		if ctx.Err() != nil {
			break
		}
		if i >= always {
			expected := time.Duration(float64(last) * min(float64(size)/float64(sizes[i-1]), 5))
			if !g.Short && time.Now().Add(expected).After(until) {
				s.Missing = append(s.Missing, fmt.Sprintf("%d: no time", size))
				continue
			}
		}
		began := time.Now()
		found := make(values)
		err := p.do(ctx, g, size, found)
		last = time.Since(began)
		fmt.Fprintf(g.Progress, "  %-12s %8d  %4.0f s ", p.name, size, last.Seconds())
		if err != nil {
			fmt.Fprintln(g.Progress, err)
			s.Missing = append(s.Missing, fmt.Sprintf("%d: %v", size, err))
			continue
		}
		for _, k := range p.figures {
			fmt.Fprintf(g.Progress, " %s %s;", k.name, Short(found[k.name]))
		}
		fmt.Fprintln(g.Progress)
		s.Sizes, rows = append(s.Sizes, size), append(rows, found)
	}
	for _, k := range p.figures {
		f := Figure{Name: k.name}
		for _, row := range rows {
			f.Values = append(f.Values, row[k.name])
		}
		f.Law = lawOf(s.Sizes, f.Values, k.tolerance)
		s.Figures = append(s.Figures, f)
	}
	return s
}

// host creates a virtual host for one size.
func (g *grower) host(ctx context.Context, do func(url string) error) error {
	g.serial++
	name := fmt.Sprintf("growth-%s-%d", g.now, g.serial)
	url, err := g.node.VHost(ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(do(url), g.node.DeleteVHost(context.WithoutCancel(ctx), name))
}

const (
	queue    = "bench.work"
	prefetch = 64
	senders  = 64

	// patience is how long a child may take.
	patience = 10 * time.Minute
)

// task is one of Leveret's.
func task(kind measure.Kind, url string) measure.Task {
	setting := peers.Setting{URL: url, Queue: queue, Window: 512, Prefetch: prefetch, Concurrency: 16}
	return measure.Task{Kind: kind, Peer: peers.Leveret, Setting: setting, Body: 256, N: senders}
}

// names are those of n queues, each of a contract.
func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("bench.work-%d", i))
	}
	return all
}

func do(ctx context.Context, t measure.Task) (measure.Result, error) {
	child, err := process.Start(ctx, t)
	if err != nil {
		return measure.Result{}, err
	}
	return child.Wait(patience)
}

// inTurn does tasks one after the other, and stops at the first that fails.
func inTurn(ctx context.Context, tasks ...step) error {
	for _, s := range tasks {
		r, err := do(ctx, s.task)
		if err != nil {
			return fmt.Errorf("%s: %w", s.task.Kind, err)
		}
		if s.then != nil {
			s.then(r)
		}
	}
	return nil
}

type step struct {
	task measure.Task
	then func(measure.Result)
}

// tapped counts what travels while a task is done.
func tapped(t measure.Task) measure.Task {
	t.Tapped = true
	return t
}

// The figures that several series have.
const (
	startFrames = "frames at the start"
	startTime   = "start, s"
	againTime   = "start when all exists, s"
	written     = "frames written for each message"
	read        = "frames read for each message"
	bytes       = "bytes on the wire for each message"
	connections = "connections"
	channels    = "channels"
	goroutines  = "goroutines"
	heap        = "heap and stacks, KiB"
	memory      = "peak memory, MiB"
	handled     = "handled/s"
	sent        = "sent/s"
	cpu         = "CPU for each message, µs"
	brokerEach  = "broker's memory for each connection, KiB"
)

// started takes what was counted until a peer was ready.
func (v values) started(r measure.Result) {
	v[startFrames] = float64(r.Start.Written.Frames + r.Start.Read.Frames)
	v[connections], v[channels] = float64(r.Start.Connections), float64(r.Start.Channels)
	v[goroutines], v[heap] = float64(r.Goroutines), float64(r.Heap)/(1<<10)
}

// travelled takes what was counted while messages were measured.
func (v values) travelled(r measure.Result) {
	v[written], v[read] = r.PerMessage(float64(r.Wire.Written.Frames)), r.PerMessage(float64(r.Wire.Read.Frames))
	v[bytes] = r.PerMessage(float64(r.Wire.Written.Bytes + r.Wire.Read.Bytes))
}

// took takes what a worker took.
func (v values) took(r measure.Result) {
	v[handled], v[cpu], v[memory] = r.Rate(), r.PerMessage(r.CPU)*1e6, float64(r.PeakRSS)/(1<<20)
}
