package shopcli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/measure"
	"github.com/leveretmq/leveret/pkg/shop/internal/comparand"
)

// A comparison is one run of compare.
type comparison struct {
	compareOptions

	app    *cli.App
	system *system // the broker, and a folder
	// boot is how long the broker takes to start.
	boot time.Duration
	bar  *term.Progress
	pass string // of the bar
}

func (c *comparison) run(ctx context.Context) (_ *compare.Result, err error) {
	if broker := c.app.Config().Config().Broker.URLs[0]; configured(c.app) && strings.HasPrefix(broker, "amqps:") {
		return nil, cli.Fail(cli.ExitUsage, "", "broker.url is %s: compare measures plain connections; use a broker at amqp:// or none",
			config.RedactURL(broker))
	}
	c.app.Note("starting RabbitMQ …")
	began := time.Now()
	if c.system, err = openSystem(ctx, c.app, devbroker.Config{}, true, ""); err != nil {
		return nil, err
	}
	defer func() {
		if failed := c.system.close(ctx); err == nil && failed != nil {
			err = failed
		}
	}()
	b := c.system.broker
	if c.ours() {
		c.boot = time.Since(began)
	}
	c.app.Note("RabbitMQ %s, two receivers, plain TCP on the loopback interface; this takes about %s",
		b.Version(), c.estimate().Round(10*time.Second))
	result := &compare.Result{
		Format: compare.Format, Began: began, Machine: compare.ThisMachine(),
		Versions: map[string]string{"go": runtime.Version(), "rabbitmq": b.Version(), "leveret": c.app.Version},
	}
	for _, handler := range []string{comparand.Nothing, comparand.Stores} {
		if handler == comparand.Nothing && c.only == onlyFaults {
			continue
		}
		part, err := c.part(ctx, handler)
		if err != nil {
			return nil, err
		}
		result.Parts = append(result.Parts, *part)
	}
	return result, nil
}

// patience is how long every caller waits, and tries again if it does: the timeout of the contract payment.authorize.
const patience = 5 * time.Second

// ours reports whether the broker may be killed.
func (c *comparison) ours() bool { return c.system.broker.About().Dir != "" }

// estimate is how long everything takes, about.
func (c *comparison) estimate() time.Duration {
	var all time.Duration
	if c.only != onlyFaults {
		loads := 2 * 6 * c.rounds * (1 + len(c.inFlight))
		all += time.Duration(loads)*(c.warm()+c.length+50*time.Millisecond) + 15*time.Second
	}
	if c.only != onlySpeed {
		before, after := c.around()
		all += 4 * time.Duration(c.rounds) * (before + c.outage + after + 2*time.Second)
	}
	return all
}

// warm is how long a load runs before it is measured.
func (c *comparison) warm() time.Duration { return min(c.length/3, 300*time.Millisecond) }

// around is how long the load runs before a fault and after it.
func (c *comparison) around() (before, after time.Duration) {
	return max(c.outage/2, 500*time.Millisecond), max(2*c.outage, time.Second)
}

// part compares everything with one handler.
func (c *comparison) part(ctx context.Context, handler string) (_ *compare.Part, err error) {
	defer func() { c.bar.End() }()
	part := &compare.Part{Handler: handler}
	if c.only != onlyFaults {
		if err := c.speed(ctx, part); err != nil {
			return nil, c.failed(ctx, err)
		}
	}
	if c.only != onlySpeed && handler == comparand.Stores {
		if err := c.faults(ctx, part); err != nil {
			return nil, c.failed(ctx, err)
		}
	}
	return part, nil
}

// failed adds to an error where to look.
func (c *comparison) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil { // interrupted, so there is nothing to look into
		return err
	}
	for i := range receiverCount {
		err = fmt.Errorf("%w\n%s", err, lastLines(c.system.logFile(receiverName(i))))
	}
	return err
}

// speed makes the passes speed and bytes.
func (c *comparison) speed(ctx context.Context, part *compare.Part) (err error) {
	r, err := c.startReceivers(ctx, part.Handler, c.system.url, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop(ctx)) }()
	w, err := openWays(ctx, r.addresses(), false)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	config := c.config(r, w.all)
	config.Quiet = 200 * time.Millisecond // nothing is broken, so nothing comes late
	engine, err := compare.New(config)
	if err != nil {
		return err
	}
	part.Speed, err = engine.Speed(ctx, compare.SpeedConfig{
		Rounds: c.rounds, Rate: c.rate, InFlight: c.inFlight, Warm: c.warm(), For: c.length,
	})
	if err != nil {
		return err
	}
	part.Ratios, part.Ways = compare.Ratios(part.Speed), engine.Ways()
	if part.Bytes, err = c.bytes(ctx, r, engine); err != nil {
		return err
	}
	part.Stray += engine.Stray()
	return nil
}

// config is how all passes are made.
func (c *comparison) config(r *receivers, ways []compare.Way) compare.Config {
	config := compare.Config{
		Ways: ways, Source: r.effects(), Timeout: patience, Receivers: r.pids, Progress: c.progress,
	}
	if c.ours() {
		config.Broker = func() []int { return []int{c.system.broker.About().PID} }
	}
	return config
}

// progress draws how far a pass is.
func (c *comparison) progress(p compare.Progress) {
	if p.Pass != c.pass || p.Done == 0 {
		c.bar.End()
		c.pass = p.Pass
		c.bar = c.app.StartProgress(p.Pass, p.Of)
	}
	c.bar.Set(p.Done)
	if p.Done == p.Of {
		c.bar.End()
	}
}

// effects reads the effects of receivers.
func (r *receivers) effects() compare.Source {
	logs := filepath.Join(r.dir, "*.effects")
	if r.handler == comparand.Stores {
		return comparand.NewStoreEffects(r.store(), logs)
	}
	return measure.NewEffectReader(logs)
}
