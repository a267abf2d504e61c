// Package growth measures how Leveret behaves as something grows: contracts, workers, backlog, bodies.
package growth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/process"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// A Row is the measurement of one size.
type Row struct {
	// What grows: "contracts", "workers", "backlog", "body".
	What string
	Size int
	// Sent and Handled are in messages a second; 0 where not measured.
	Sent, Handled float64 `json:",omitempty"`
	// First and Again are how long a worker took until it consumed, in seconds: First when it had to declare everything,
	// Again when everything existed.
	First, Again float64 `json:",omitempty"`
	// RSS is the peak memory of the handling process, in bytes.
	RSS int64 `json:",omitempty"`
	// CPU is the CPU time of the handling process per message, in seconds.
	CPU float64 `json:",omitempty"`
	// Skipped reports whether there was no time for this size.
	Skipped bool   `json:",omitempty"`
	Err     string `json:",omitempty"`
}

// Config configures the measurements.
type Config struct {
	// Budget limits the time. Sizes that do not fit are skipped, except for the largest number of contracts, the largest
	// body and the largest backlog.
	Budget   time.Duration
	Progress io.Writer
}

const queue = "bench.work"

// Run measures all rows. Errors are reported in the rows.
func Run(ctx context.Context, node *devbroker.Broker, c Config) ([]Row, error) {
	g := &grower{Config: c, node: node, until: time.Now().Add(c.Budget)}
	for _, series := range []struct {
		share float64 // of the budget that is left
		do    func(context.Context, time.Time)
	}{{0.3, g.contracts}, {0.25, g.workers}, {0.3, g.bodies}, {1, g.backlog}} {
		left := time.Until(g.until)
		series.do(ctx, time.Now().Add(time.Duration(float64(left)*series.share)))
		if ctx.Err() != nil {
			return g.rows, context.Cause(ctx)
		}
	}
	return g.rows, nil
}

type grower struct {
	Config
	node   *devbroker.Broker
	until  time.Time
	rows   []Row
	serial int
}

// host creates a virtual host for one row.
func (g *grower) host(ctx context.Context, do func(url string) error) error {
	g.serial++
	name := fmt.Sprintf("growth-%d", g.serial)
	url, err := g.node.VHost(ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(do(url), g.node.DeleteVHost(ctx, name))
}

// The largest sizes, which are always measured.
const (
	mostContracts = 200
	mostBacklog   = 1_000_000
	largestBody   = 1 << 20
)

// each measures one size after another, skipping those that are likely to take too long unless they must be measured.
func (g *grower) each(ctx context.Context, what string, sizes []int, must int, until time.Time, do func(row *Row) error) {
	var last time.Duration
	for i, size := range sizes {
		if ctx.Err() != nil {
			return
		}
		grown := 1.0
		if i > 0 {
			grown = min(float64(size)/float64(sizes[i-1]), 4)
		}
		row := Row{What: what, Size: size}
		if i > 1 && size != must && time.Now().Add(time.Duration(float64(last)*grown)).After(until) {
			fmt.Fprintf(g.Progress, "  %-10s %8d: no time\n", what, size)
			row.Skipped = true
			g.rows = append(g.rows, row)
			continue
		}
		began := time.Now()
		if err := do(&row); err != nil {
			row.Err = err.Error()
		}
		last = time.Since(began)
		fmt.Fprintf(g.Progress, "  %-10s %8d: sent %7.0f/s, handled %7.0f/s, first %6.2f s, again %5.2f s, %4d MiB, %5.1f µs CPU %s\n",
			what, size, row.Sent, row.Handled, row.First, row.Again, row.RSS>>20, row.CPU*1e6, row.Err)
		g.rows = append(g.rows, row)
	}
}

func setting(url string) peers.Setting {
	return peers.Setting{URL: url, Queue: queue, Window: 512, Prefetch: Prefetch, Concurrency: 16}
}

// task is one of Leveret's.
func task(kind measure.Kind, url string) measure.Task {
	return measure.Task{Kind: kind, Peer: peers.Leveret, Setting: setting(url), Body: 256, N: 64}
}

func do(ctx context.Context, t measure.Task, limit time.Duration) (measure.Result, error) {
	child, err := process.Start(ctx, t)
	if err != nil {
		return measure.Result{}, err
	}
	return child.Wait(limit)
}

// contracts: startup, declaring, and throughput, by the number of queues.
func (g *grower) contracts(ctx context.Context, until time.Time) {
	g.each(ctx, "contracts", []int{1, 10, 50, 100, mostContracts}, mostContracts, until, func(row *Row) error {
		return g.host(ctx, func(url string) error {
			t := task(measure.Startup, url)
			for n := range row.Size {
				t.Setting.Queues = append(t.Setting.Queues, fmt.Sprintf("bench.work-%d", n))
			}
			started, err := do(ctx, t, 5*time.Minute)
			if err != nil {
				return err
			}
			row.First, row.Again = started.Extra["first"], started.Extra["again"]
			t.Kind, t.Messages, t.Skip = measure.Through, 10_000, 2_000
			through, err := do(ctx, t, 5*time.Minute)
			row.handled(through)
			return err
		})
	})
}

func (r *Row) handled(m measure.Result) {
	r.Handled, r.RSS, r.CPU = m.Rate(), m.PeakRSS, m.PerMessage(m.CPU)
}

// toDrain is for how long there are messages, at the rate of the row before, of which the start of all workers takes
// most.
const toDrain = 6

// workers: processes on one queue, with a handler of 1 ms.
func (g *grower) workers(ctx context.Context, until time.Time) {
	last := 10_000.0
	g.each(ctx, "workers", []int{1, 2, 4, 8}, 0, until, func(row *Row) error {
		return g.host(ctx, func(url string) error {
			fill := task(measure.Fill, url)
			fill.Messages = toDrain * int(last)
			if _, err := do(ctx, fill, 5*time.Minute); err != nil {
				return err
			}
			var all []*process.Child
			defer func() {
				for _, c := range all {
					c.Kill()
				}
			}()
			for range row.Size {
				t := task(measure.Drain, url)
				t.Work = time.Millisecond
				c, err := process.Start(ctx, t)
				if err != nil {
					return err
				}
				all = append(all, c)
			}
			for _, c := range all {
				if err := c.Ready(ctx); err != nil {
					return err
				}
			}
			for _, c := range all {
				if err := c.Mark(); err != nil {
					return err
				}
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			for _, c := range all {
				c.Stop()
			}
			taken := 0
			for _, c := range all {
				r, err := c.Wait(time.Minute)
				if err != nil {
					return err
				}
				taken += int(r.Messages) + int(r.Extra["before"])
				row.Handled += r.Rate()
				row.RSS = max(row.RSS, r.PeakRSS)
				row.CPU += r.PerMessage(r.CPU) / float64(row.Size)
			}
			if taken > fill.Messages-Prefetch*row.Size {
				return fmt.Errorf("the queue ran empty: of %d messages %d were handled", fill.Messages, taken)
			}
			last = max(last, row.Handled)
			return nil
		})
	})
}

// BodiesInFlight is the maximum of body bytes that wait for their confirm, and Prefetch the number of messages a worker
// has.
const (
	BodiesInFlight = 16 << 20
	Prefetch       = 64
)

// bodies: publishing and consuming, by the size of the message.
func (g *grower) bodies(ctx context.Context, until time.Time) {
	g.each(ctx, "body", []int{256, 4 << 10, 16 << 10, 64 << 10, 256 << 10, largestBody}, largestBody, until, func(row *Row) error {
		return g.host(ctx, func(url string) error {
			publish := task(measure.Publish, url)
			publish.Body, publish.Warm, publish.Duration = row.Size, 300*time.Millisecond, time.Second
			publish.Setting.Window = min(512, max(16, BodiesInFlight/row.Size))
			sent, err := do(ctx, publish, 5*time.Minute)
			if err != nil {
				return err
			}
			row.Sent = sent.Rate()
			consume := task(measure.Consume, url)
			consume.Body, consume.Leave = row.Size, true
			consume.Messages = int(sent.Messages)
			consume.Skip = max(consume.Messages/5, 1)
			handled, err := do(ctx, consume, 5*time.Minute)
			row.handled(handled)
			return err
		})
	})
}

// Taken is the number of messages that a worker takes from a backlog, or all if there are fewer.
const Taken = 100_000

// backlog: the cost of consuming from a queue, by its length.
func (g *grower) backlog(ctx context.Context, until time.Time) {
	_ = g.host(ctx, func(url string) error {
		filled := 0
		g.each(ctx, "backlog", []int{1_000, 10_000, 100_000, 300_000, mostBacklog}, mostBacklog, until, func(row *Row) error {
			fill := task(measure.Fill, url)
			fill.Messages = row.Size - filled
			sent, err := do(ctx, fill, 20*time.Minute)
			if err != nil {
				return err
			}
			row.Sent = sent.Rate()
			filled = row.Size
			t := task(measure.Consume, url)
			t.Messages, t.Leave = min(Taken, row.Size), true
			t.Skip = t.Messages / 5
			handled, err := do(ctx, t, 5*time.Minute)
			filled -= t.Messages
			row.handled(handled)
			return err
		})
		return nil
	})
}
