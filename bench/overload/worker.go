package main

import (
	"bufio"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// workerJob is the environment variable that makes of this program the worker.
const workerJob = "OVERLOAD_WORKER"

// job is what a worker does.
type job struct {
	load
	URL    string
	Ledger string // the file to which it writes what it has done
}

// A handling is what a worker did with a request.
type handling struct {
	ID string
	// Granted says that the caller's deadline had passed when the request arrived, so that the worker granted more time.
	Granted    bool
	Refused    bool // by the middleware
	Begin, End time.Time
}

// An expiry is a request that a worker did not handle, since its deadline had passed.
type expiry struct {
	ID string
	At time.Time
}

// ledger is all that a worker did.
type ledger struct {
	mu        sync.Mutex
	Handlings []handling
	Expired   []expiry
	CPU       time.Duration
}

// middleware writes down each handling, and refuses what the load says.
func (l *ledger) middleware(load load) leveret.Middleware {
	return func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) (err error) {
			h := handling{ID: m.ID, Begin: time.Now()}
			deadline := carried(m)
			h.Granted = m.Deadline.After(deadline)
			left := deadline.Sub(h.Begin)
			if load.Refuse != "" && left < 0 || load.Refuse == "early" && left < load.Handle {
				h.Refused = true
				err = leveret.Errorf(leveret.ResourceExhausted, "too little time is left")
			} else {
				err = next(ctx, m)
			}
			h.End = time.Now()
			l.mu.Lock()
			l.Handlings = append(l.Handlings, h)
			l.mu.Unlock()
			return err
		}
	}
}

// carried returns the caller's deadline as it travelled, which is not always the one that the worker goes by.
func carried(m *leveret.Message) time.Time {
	text, _ := m.Headers["leveret-deadline"].(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func (l *ledger) outcome(_ context.Context, m *leveret.Message, o leveret.Outcome) {
	if o.Verdict == leveret.VerdictExpired {
		l.mu.Lock()
		l.Expired = append(l.Expired, expiry{m.ID, time.Now()})
		l.mu.Unlock()
	}
}

// work answers requests until it is asked to end, and then writes its ledger.
func work(ctx context.Context, description string) error {
	var j job
	if err := json.Unmarshal([]byte(description), &j); err != nil {
		return err
	}
	signal.Ignore(os.Interrupt) // Ctrl-C also reaches the parent, which ends this process
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{j.URL}, Logger: quiet})
	if err != nil {
		return err
	}
	var l ledger
	h := leveret.NewHandlers(answering, leveret.HandlersConfig{
		Middleware: []leveret.Middleware{l.middleware(j.load)}, OnOutcome: l.outcome,
	})
	ask.Answer(h, func(ctx context.Context, q question) (question, error) {
		if !j.Heed {
			time.Sleep(j.Handle)
			return q, nil
		}
		timer := time.NewTimer(j.Handle)
		defer timer.Stop()
		select {
		case <-timer.C:
			return q, nil
		case <-ctx.Done():
			return q, context.Cause(ctx)
		}
	})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{
		Concurrency: j.Concurrency, Prefetch: j.Prefetch, OnReady: func() { fmt.Println("ready") },
	})
	if err != nil {
		return err
	}
	if err := w.Run(ctx); err != nil {
		return err
	}
	f, err := os.Create(j.Ledger)
	if err != nil {
		return err
	}
	l.CPU = cpu()
	return errors.Join(gob.NewEncoder(f).Encode(&l), f.Close())
}

// worker is a worker's process.
type worker struct {
	cmd    *exec.Cmd
	ledger string
}

// start starts a worker, and returns when it is ready.
func start(ctx context.Context, url string, l load) (*worker, error) {
	f, err := os.CreateTemp("", "overload")
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	description, err := json.Marshal(job{l, url, f.Name()})
	if err != nil {
		return nil, err
	}
	w := &worker{cmd: exec.CommandContext(ctx, os.Args[0]), ledger: f.Name()}
	w.cmd.Env = append(os.Environ(), workerJob+"="+string(description))
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	if !bufio.NewScanner(out).Scan() {
		return nil, errors.Join(errors.New("the worker did not become ready"), w.cmd.Wait())
	}
	return w, nil
}

// end ends the worker, and returns what it did.
func (w *worker) end() (*ledger, error) {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	if err := w.cmd.Wait(); err != nil {
		return nil, fmt.Errorf("the worker: %w", err)
	}
	f, err := os.Open(w.ledger)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var l ledger
	return &l, gob.NewDecoder(f).Decode(&l)
}

// kill ends a worker that still runs, and removes its ledger.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	_ = os.Remove(w.ledger)
}
