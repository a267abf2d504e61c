package shopcli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/compare"
)

// The work takes workTime during the faults, and slowTimes as long while the receivers are slow. At 50 operations a
// second for each way, some are always in flight, before their effect and after it.
const (
	workTime  = 50 * time.Millisecond
	slowTimes = 10
)

// faults makes the pass faults.
func (c *comparison) faults(ctx context.Context, part *compare.Part) (err error) {
	r, err := c.startReceivers(ctx, part.Handler, c.system.url, workTime)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop(ctx)) }()
	w, err := openWays(ctx, r.addresses(), true)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	engine, err := compare.New(c.config(r, w.all))
	if err != nil {
		return err
	}
	before, after := c.around()
	part.Faults, err = engine.Faults(ctx, compare.FaultsConfig{
		Faults: c.list(r), Rounds: c.rounds, Rate: c.rate / 4, Before: before, After: after,
	})
	if err != nil {
		return err
	}
	part.Stray += engine.Stray()
	if part.Ways == nil {
		part.Ways = engine.Ways()
	}
	return nil
}

// list returns the faults.
func (c *comparison) list(r *receivers) []compare.Fault {
	all := []compare.Fault{{
		Name: "receivers-dead", Label: fmt.Sprintf("Both receivers dead for %v", c.outage), For: c.outage,
		Inflict: func(context.Context) error { return r.kill() },
		Heal:    r.start,
	}, {
		Name: "receivers-slow", Label: fmt.Sprintf("Receivers %d times slower for %v", slowTimes, c.outage), For: c.outage,
		Inflict: func(ctx context.Context) error { return r.setDelay(ctx, slowTimes*workTime) },
		Heal:    func(ctx context.Context) error { return r.setDelay(ctx, workTime) },
	}, {
		Name: "receivers-restarted", Label: "Receivers restarted one after the other",
		Inflict: func(ctx context.Context) error { return r.restart(ctx, min(c.outage, 2*time.Second)) },
	}}
	if c.ours() {
		b := c.system.broker
		all = append(all, compare.Fault{
			// Its start is a part of the time.
			Name: "broker-dead", Label: fmt.Sprintf("RabbitMQ dead for %v", c.outage), For: max(c.outage-c.boot, 0),
			Inflict: func(context.Context) error { return b.Kill() },
			Heal:    b.Start,
		})
	}
	return all
}
