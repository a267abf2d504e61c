package growth

import (
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/process"
)

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
