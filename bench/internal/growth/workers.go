package growth

import (
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/process"
)

// workers: by their number, on one queue.
var workers = plan{
	name: "workers", title: "Workers", of: "workers",
	about: "This many workers on one queue, in one process, but each with connections of its own, as if each were a process: what they open, and " +
		"what they handle together with 16 handlers of 1 ms each.",
	full: []int{1, 2, 5, 20, 50, 100, 200}, short: []int{1, 4, 16}, share: 0.25,
	figures: []kind{
		{startFrames, counted}, {startTime, lasting}, {connections, counted}, {channels, counted}, {goroutines, counted}, {heap, stored},
		{brokerEach, stored}, {handled, timed},
	},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error {
			t := task(measure.Startup, url)
			t.Workers = size
			if err := inTurn(ctx, step{tapped(t), func(r measure.Result) {
				found.started(r)
				found[startTime] = r.Extra["first"]
			}}); err != nil {
				return err
			}
			return g.drain(ctx, url, 1, size, found)
		})
	},
}

// processes: the same, but a process each.
var processes = plan{
	name: "processes", title: "Worker processes", of: "processes",
	about: "This many worker processes on one queue, 16 handlers of 1 ms each; the sum of what they handle. One process is limited by its handlers, to " +
		"16,000/s; a queue by the core that it uses; and all by the cores that broker and workers share.",
	full: []int{1, 2, 4, 8}, share: 0.1,
	figures: []kind{{handled, timed}, {cpu, timed}, {memory, stored}},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error { return g.drain(ctx, url, size, 1, found) })
	},
}

// toDrain is how many messages there are for the rate of workers, for up to a second. All take their prefetch before.
func (g *grower) toDrain(workers int) int {
	base := 60_000
	if g.Short {
		base = 10_000
	}
	return base + prefetch*workers
}

// drain measures for a second how many messages processes with workers handle together, and what their connections take
// of the broker's memory.
func (g *grower) drain(ctx context.Context, url string, processes, workers int, found values) error {
	fill := task(measure.Fill, url)
	fill.Messages = g.toDrain(processes * workers)
	before, err := g.memory(ctx)
	if err != nil {
		return err
	}
	if err := inTurn(ctx, step{task: fill}); err != nil {
		return err
	}
	var all []*process.Child
	defer func() {
		for _, c := range all {
			c.Kill()
		}
	}()
	t := task(measure.Drain, url)
	t.Work, t.Workers = time.Millisecond, workers
	for range processes {
		c, err := process.Start(ctx, t)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	return errors.Join(g.readied(ctx, all, before, processes*workers, found), stopped(ctx, all, found))
}

// readied waits until all children consume, and begins to measure.
func (g *grower) readied(ctx context.Context, all []*process.Child, before held, workers int, found values) error {
	for _, c := range all {
		if err := c.Ready(ctx); err != nil {
			return err
		}
	}
	after, err := g.memory(ctx)
	if err != nil {
		return err
	}
	found[brokerEach] = float64(after.connections()-before.connections()) / (1 << 10) / float64(2*workers)
	for _, c := range all {
		if err := c.Mark(); err != nil {
			return err
		}
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	return nil
}

// stopped stops all children, and adds up what they did.
func stopped(ctx context.Context, all []*process.Child, found values) error {
	for _, c := range all {
		c.Stop()
	}
	for _, c := range all {
		r, err := c.Wait(patience)
		if err != nil {
			return err
		}
		found[handled] += r.Rate()
		found[cpu] += r.PerMessage(r.CPU) * 1e6 / float64(len(all))
		found[memory] = max(found[memory], float64(r.PeakRSS)/(1<<20))
	}
	return ctx.Err()
}
