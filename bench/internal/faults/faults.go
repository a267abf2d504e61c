// Package faults finds out whether a peer can lose messages, by provoking typical causes of loss: a deleted queue, a
// killed broker, and a killed worker.
package faults

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/process"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// An Experiment is one kind of fault.
type Experiment string

// The experiments. Some are done in two ways, because a loss may depend on how a peer is used.
const (
	Unroutable          Experiment = "unroutable"
	UnroutablePipelined Experiment = "unroutable-pipelined"
	Broker              Experiment = "broker"
	BrokerPipelined     Experiment = "broker-pipelined"
	Worker              Experiment = "worker"
	WorkerInBatches     Experiment = "worker-in-batches"
)

// A Finding is the outcome of one experiment with one peer, in its worst repetition.
type Finding struct {
	Peer       string
	Experiment Experiment
	// Offered is false if the peer lacks what the experiment needs.
	Offered bool
	// Trials is the number of repetitions.
	Trials int
	// Reported is the number of messages that the peer reported as sent or, in the experiments with workers, was given.
	Reported int
	// Lost is the number of these that had disappeared afterwards.
	Lost int
	// Twice is the number of messages that were received or handled more than once.
	Twice int
	// Hung reports whether a call did not return.
	Hung bool
	// Recovered reports whether the peer continued by itself after the broker was back.
	Recovered bool
	// After is how long that took, in seconds.
	After float64
	// Note is an error that was observed.
	Note string
	// Err is the reason why the experiment could not be done.
	Err string
}

// Config configures the experiments.
type Config struct {
	Peers []peers.Peer
	// Rounds is the number of repetitions of each experiment. The quick one with unroutable messages is repeated at least
	// leastUnroutable times.
	Rounds int
	// Dir is for ledgers.
	Dir      string
	Progress io.Writer
}

const (
	leastUnroutable = 5

	queue    = "bench.work"
	body     = 256
	senders  = 32
	toHandle = 3000
)

// experiments lists the experiments in order.
var experiments = []struct {
	Experiment
	offered func(peers.Peer) bool
	do      func(context.Context, *trial) (Finding, error)
	takes   time.Duration // about
	least   int           // repetitions
}{
	{Unroutable, sends, unroutable, 5 * time.Second, leastUnroutable},
	{UnroutablePipelined, pipelines, unroutable, 5 * time.Second, leastUnroutable},
	{Broker, sends, broker, 20 * time.Second, 1},
	{BrokerPipelined, pipelines, broker, 20 * time.Second, 1},
	{Worker, works, worker, 10 * time.Second, 1},
	{WorkerInBatches, func(p peers.Peer) bool { return works(p) && p.Batches }, worker, 10 * time.Second, 1},
}

func sends(p peers.Peer) bool     { return p.Sender != nil }
func pipelines(p peers.Peer) bool { return p.Pipeline != nil }
func works(p peers.Peer) bool     { return (p.Sender != nil || p.FilledBy != "") && p.Work != nil }

// tried reports whether there are experiments with a peer. Variants behave like their peer and are not tried.
func tried(p peers.Peer) bool { return !p.Variant && (p.Sender != nil || p.Work != nil) }

// Takes returns approximately how long all experiments with a peer take.
func Takes(p peers.Peer, rounds int) (all time.Duration) {
	for _, e := range experiments {
		if tried(p) && e.offered(p) {
			all += time.Duration(max(rounds, e.least)) * e.takes
		}
	}
	return all
}

// Run does every experiment with every peer, on a node that it kills repeatedly.
func Run(ctx context.Context, node *devbroker.Broker, c Config) ([]Finding, error) {
	var findings []Finding
	for _, p := range c.Peers {
		if !tried(p) {
			continue
		}
		for _, e := range experiments {
			offered := e.offered(p)
			if !offered && e.Experiment == WorkerInBatches {
				continue // Worker has tried the only way that there is
			}
			worst := Finding{Peer: p.Name, Experiment: e.Experiment, Offered: offered}
			trials := max(c.Rounds, e.least)
			for n := 0; offered && n < trials; n++ {
				f, err := attempt(ctx, node, c, p, e.Experiment, n, e.do)
				if ctx.Err() != nil {
					return findings, context.Cause(ctx)
				}
				f.Peer, f.Experiment, f.Offered, f.Trials = p.Name, e.Experiment, true, trials
				if err != nil {
					f.Err = err.Error()
				}
				fmt.Fprintf(c.Progress, "  %-12s %-20s reported %5d, lost %4d, twice %4d, hung %v, recovered %v after %.1f s %s%s\n",
					p.Name, e.Experiment, f.Reported, f.Lost, f.Twice, f.Hung, f.Recovered, f.After, f.Note, f.Err)
				if n == 0 || worse(f, worst) {
					worst = f
				}
			}
			findings = append(findings, worst)
		}
	}
	return findings, nil
}

// worse reports whether a is worse than b.
func worse(a, b Finding) bool {
	flag := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	return cmp.Or(a.Lost-b.Lost, flag(a.Hung)-flag(b.Hung), flag(!a.Recovered)-flag(!b.Recovered), a.Twice-b.Twice) > 0
}

// trial is one experiment with one peer.
type trial struct {
	node       *devbroker.Broker
	url        string
	peer       peers.Peer
	experiment Experiment
	ledger     string
}

func attempt(ctx context.Context, node *devbroker.Broker, c Config, p peers.Peer, e Experiment, n int,
	do func(context.Context, *trial) (Finding, error),
) (Finding, error) {
	name := fmt.Sprintf("%s-%s-%d", p.Name, e, n)
	url, err := node.VHost(ctx, name)
	if err != nil {
		return Finding{}, err
	}
	t := &trial{node: node, url: url, peer: p, experiment: e, ledger: filepath.Join(c.Dir, name)}
	f, err := do(ctx, t)
	return f, errors.Join(err, node.DeleteVHost(ctx, name))
}

func (t *trial) task(kind measure.Kind) measure.Task {
	task := measure.Task{
		Kind: kind, Peer: t.peer.Name, Body: body, N: senders, Messages: toHandle, Work: time.Millisecond, Ledger: t.ledger,
		Setting:   peers.Setting{URL: t.url, Queue: queue, Window: 512, Prefetch: 64, Concurrency: 16},
		Pipelined: t.experiment == UnroutablePipelined || t.experiment == BrokerPipelined,
	}
	if t.experiment == WorkerInBatches {
		task.Setting.Batch = task.Setting.Prefetch // as where a backlog is consumed
	}
	return task
}

// unroutable: does a sender notice that the queue is gone?
func unroutable(ctx context.Context, t *trial) (Finding, error) {
	task := t.task(measure.Unroutable)
	task.Messages = 200
	child, err := process.Start(ctx, task)
	if err != nil {
		return Finding{}, err
	}
	r, err := child.Wait(time.Minute)
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Hung: r.Extra["hung"] > 0, Note: r.Note}
	if !f.Hung {
		f.Reported = int(r.Messages) - int(r.Extra["told"])
		f.Lost = max(f.Reported-int(r.Extra["kept"]), 0)
	}
	return f, nil
}

// broker: are messages reported as sent still there after the broker was killed under load?
func broker(ctx context.Context, t *trial) (Finding, error) {
	var f Finding
	child, err := process.Start(ctx, t.task(measure.Record))
	if err != nil {
		return f, err
	}
	defer child.Kill()
	if err := child.Ready(ctx); err != nil {
		return f, err
	}
	if !t.grows(ctx, child, 1000, 20*time.Second) {
		return f, errors.New("too little was sent before the broker was to be killed")
	}
	// RabbitMQ 3.10 takes up to two seconds to persist a new queue. Until then the queue does not survive a kill,
	// whichever peer has sent to it.
	sleep(ctx, 3*time.Second)
	if err := t.node.Kill(); err != nil {
		return f, err
	}
	if err := t.node.Start(ctx); err != nil {
		return f, err
	}
	back := time.Now()
	before := lines(t.ledger)
	f.Recovered = t.grows(ctx, child, before+200, 30*time.Second)
	f.After = time.Since(back).Seconds()
	child.Stop()
	r, err := child.Wait(20 * time.Second)
	switch {
	case err != nil:
		f.Hung, f.Note = true, err.Error()
	case r.Extra["failed"] > 0:
		f.Note = fmt.Sprintf("%.0f failed", r.Extra["failed"])
	}
	reported, _, err := read(t.ledger)
	if err != nil {
		return f, err
	}
	found, err := t.empty(ctx)
	if err != nil {
		return f, err
	}
	f.Reported = len(reported)
	for id := range reported {
		if found[id] == 0 {
			f.Lost++
		}
	}
	for _, n := range found {
		if n > 1 {
			f.Twice++
		}
	}
	return f, nil
}

// worker: is every message handled completely although a worker is killed in the middle?
func worker(ctx context.Context, t *trial) (Finding, error) {
	var f Finding
	filling := t.task(measure.Fill)
	filling.Peer = cmp.Or(t.peer.FilledBy, t.peer.Name)
	fill, err := process.Start(ctx, filling)
	if err != nil {
		return f, err
	}
	if _, err := fill.Wait(2 * time.Minute); err != nil {
		return f, fmt.Errorf("fill the queue: %w", err)
	}
	victim, err := process.Start(ctx, t.task(measure.Handle))
	if err != nil {
		return f, err
	}
	grew := t.grows(ctx, victim, 500, 30*time.Second)
	victim.Kill()
	if !grew {
		_, err := victim.Wait(time.Second)
		return f, fmt.Errorf("too little was handled before the worker was to be killed: %w", err)
	}
	heir, err := process.Start(ctx, t.task(measure.Handle))
	if err != nil {
		return f, err
	}
	began := time.Now()
	f.Recovered = t.grows(ctx, heir, lines(t.ledger)+100, 30*time.Second)
	f.After = time.Since(began).Seconds()
	for still, last := time.Now(), 0; time.Since(still) < 3*time.Second && ctx.Err() == nil; sleep(ctx, 50*time.Millisecond) {
		if n := lines(t.ledger); n != last {
			still, last = time.Now(), n
		}
	}
	heir.Stop()
	if _, err := heir.Wait(40 * time.Second); err != nil {
		f.Hung, f.Note = true, err.Error()
	}
	handled, twice, err := read(t.ledger)
	f.Reported, f.Lost, f.Twice = toHandle, toHandle-len(handled), twice
	return f, err
}

// grows waits until the ledger has the given number of lines.
func (t *trial) grows(ctx context.Context, child *process.Child, to int, limit time.Duration) bool {
	for until := time.Now().Add(limit); time.Now().Before(until) && ctx.Err() == nil; sleep(ctx, 20*time.Millisecond) {
		if lines(t.ledger) >= to {
			return true
		}
		select {
		case <-child.Done():
			return false
		default:
		}
	}
	return false
}

// lines returns the number of lines in the ledger. All ids have the same length.
func lines(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return int(info.Size()) / (len(peers.ID(0)) + 1)
}

// read returns the ids of a ledger, and how many are there more than once.
func read(path string) (ids map[string]int, twice int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	ids = make(map[string]int)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if ids[lines.Text()]++; ids[lines.Text()] == 2 {
			twice++
		}
	}
	return ids, twice, lines.Err()
}

// idIn finds a payload's id in a body, whether the peer encodes it as a field or as an argument of that name.
var idIn = regexp.MustCompile(`id\W+(?:Type\W+string\W+Value\W+)?(\d{12})`)

// empty empties the queue and counts the ids.
func (t *trial) empty(ctx context.Context) (map[string]int, error) {
	conn, err := amqp.Dial(t.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(1000, 0, false); err != nil {
		return nil, err
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for n := 1; ; n++ {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return nil, errors.New("the queue went away while it was emptied")
			}
			if match := idIn.FindSubmatch(d.Body); match != nil {
				found[string(match[1])]++
			}
			if n%250 == 0 {
				if err := ch.Ack(d.DeliveryTag, true); err != nil {
					return nil, err
				}
			}
		case <-time.After(3 * time.Second):
			return found, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
