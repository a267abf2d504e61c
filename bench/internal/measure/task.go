package measure

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/wire"
)

// A Kind is a kind of task for a child process.
type Kind string

// The kinds of task.
const (
	Publish Kind = "publish" // one goroutine, pipelined confirms
	Waiters Kind = "waiters" // N goroutines, each waiting for its confirm
	Fill    Kind = "fill"    // put Messages into the queue, for others to take out
	Consume Kind = "consume" // take Messages out of it
	Retry   Kind = "retry"   // the same, each failing once
	Call    Kind = "call"    // N requests in flight
	Serve   Kind = "serve"   // answer requests until stopped
	Latency Kind = "latency" // end to end, at Rate messages a second
	Startup Kind = "startup" // how long it takes until all workers consume all queues
	Sends   Kind = "sends"   // how long it takes until a client has sent to all queues; then Messages from N goroutines
	Through Kind = "through" // send and handle Messages, over N contracts
	Drain   Kind = "drain"   // handle until stopped, and report how many
	Fail    Kind = "fail"    // make dead letters of Messages
	Look    Kind = "look"    // look at all dead letters
	Replay  Kind = "replay"  // return all dead letters to their queue
	Late    Kind = "late"    // how late a message comes back behind Messages of strangers in its retry tier

	Unroutable Kind = "unroutable" // send Messages to a queue that is gone
	Record     Kind = "record"     // send from N goroutines until stopped, writing each outcome to Ledger
	Handle     Kind = "handle"     // handle until stopped, writing what was handled to Ledger
)

// A Task is read by a child process from its standard input, as one line. For what follows it, see signals.
type Task struct {
	Kind    Kind
	Peer    string
	Setting peers.Setting
	// Body is the size of a payload as JSON, in bytes.
	Body int
	// N is the number of goroutines that send.
	N int
	// Workers is how many workers there are in the process, each with connections of its own. 0 is 1.
	Workers int
	// Tapped counts what travels, and what the process holds. That takes time, so rates and times are measured without.
	Tapped bool
	// Isolated uses retry tiers for each service.
	Isolated bool
	// Rate is in messages a second.
	Rate int
	// Messages is how many are to be handled, the first Skip of which are not measured.
	Messages, Skip int
	// Warm is the length of the warm-up, Duration that of the measurement after it.
	Warm, Duration time.Duration
	// Work is how long a handler takes.
	Work time.Duration
	// Profile is where to write a CPU profile of the measured time; empty: none.
	Profile string
	// Ledger is the file for ids, one per line.
	Ledger string
	// Pipelined makes Unroutable and Record send through a Pipeline.
	Pipelined bool
	// Leave allows messages to be left in the queue.
	Leave bool
}

// A Result is the result of a measurement. Durations are in seconds.
type Result struct {
	Messages int64
	Seconds  float64
	// CPU is the process's own, user and system.
	CPU float64
	// Allocs and Bytes count what was allocated on the heap.
	Allocs, Bytes uint64
	// PeakRSS is the peak memory of the process, in bytes.
	PeakRSS int64
	// P50, P99 and Max describe the waiting times. They are 0 if the scenario does not wait for anything.
	P50, P99, Max float64
	// Times are all of these as an HdrHistogram in microseconds, compressed and in base 64; see Pool.
	Times string `json:",omitempty"`
	// Start and Wire are what travelled until the first message, and then while the messages were measured, if the task is
	// tapped.
	Start, Wire wire.Count `json:",omitzero"`
	// Goroutines and Heap are what the process holds for the peer, if the task is tapped: heap and stacks in bytes.
	Goroutines int   `json:",omitempty"`
	Heap       int64 `json:",omitempty"`
	// Extra holds values that only some scenarios have.
	Extra map[string]float64 `json:",omitempty"`
	// Note is a remark on them.
	Note string `json:",omitempty"`
}

// Rate is in messages a second.
func (r Result) Rate() float64 {
	if r.Seconds == 0 {
		return 0
	}
	return float64(r.Messages) / r.Seconds
}

// PerMessage divides a resource by the number of messages.
func (r Result) PerMessage(used float64) float64 {
	if r.Messages == 0 {
		return 0
	}
	return used / float64(r.Messages)
}

// A Report is a line that a child writes to its standard output.
type Report struct {
	Ready  bool    `json:",omitempty"`
	Result *Result `json:",omitempty"`
	Err    string  `json:",omitempty"`
}

// Child does the task that it reads from in, and reports to out.
func Child(ctx context.Context, in io.Reader, out io.Writer, log *slog.Logger) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	var task Task
	if err := json.Unmarshal(line, &task); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	stop, mark := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stop)
		if _, err := lines.ReadBytes('\n'); err != nil {
			return
		}
		close(mark)
		_, _ = io.Copy(io.Discard, lines)
	}()
	encoder := json.NewEncoder(out)
	result, err := Do(ctx, task, signals{stop, mark}, func() { _ = encoder.Encode(Report{Ready: true}) }, log)
	report := Report{Result: &result}
	if err != nil {
		report = Report{Err: err.Error()}
	}
	return encoder.Encode(report)
}

var errNotOffered = errors.New("not offered")

// signals control a child while it runs.
type signals struct {
	stop <-chan struct{} // closed at the end of its input
	mark <-chan struct{} // closed by an empty line: measure from now on
}

// Do performs one task. It calls ready when it has begun to consume. Peers log only if a ledger is written, that is in
// experiments with faults: a measurement must not depend on how much a library logs.
func Do(ctx context.Context, t Task, told signals, ready func(), log *slog.Logger) (Result, error) {
	peer, ok := peers.Find(t.Peer)
	if !ok {
		return Result{}, fmt.Errorf("there is no peer %q", t.Peer)
	}
	if t.Ledger == "" {
		log = slog.New(slog.DiscardHandler)
	}
	t.Setting.Log = log
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := run{Task: t, peer: peer, meter: meter{profile: t.Profile}, signals: told, ready: ready}
	if t.Tapped {
		tap, err := wire.Listen(t.Setting.URL)
		if err != nil {
			return Result{}, err
		}
		defer tap.Close()
		r.tap = tap
		r.Setting.URL = tap.URL()
		r.rest()
	}
	do := map[Kind]func(context.Context) error{
		Publish: r.publish, Waiters: r.waiters, Fill: r.fill, Consume: r.consume, Retry: r.retry,
		Call: r.call, Serve: r.serve, Latency: r.latency, Startup: r.startup, Sends: r.sends, Through: r.through, Drain: r.drain,
		Fail: r.fail, Look: r.look, Replay: r.replay, Late: r.late,
		Unroutable: r.unroutable, Record: r.record, Handle: r.handle,
	}[t.Kind]
	if do == nil {
		return Result{}, fmt.Errorf("there is no task %q", t.Kind)
	}
	err := do(ctx)
	r.result.PeakRSS = peakRSS()
	return r.result, err
}

// run is a task in progress.
type run struct {
	Task
	meter
	signals
	peer  peers.Peer
	ready func()
}
