// Command overload prints what becomes of requests that are made several times as fast as their service can answer
// them: how many are answered, how many are handled though their caller is gone, and how the deadline had passed for
// those. With -cancel it prints instead what it takes to cancel thousands of calls at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/measure"
)

type question struct {
	N int `json:"n"`
}

var (
	ask       = leveret.NewRequest[question, question]("overload.ask", leveret.Timeout(time.Hour)) // the callers set their own
	answering = leveret.NewService("overload", leveret.Answers(ask))
	calling   = leveret.NewService("caller", leveret.Calls(ask))
	quiet     = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
)

// load is what is measured.
type load struct {
	Callers     int
	Times       float64
	Handle      time.Duration
	Heed        bool
	Concurrency int
	Prefetch    int
	Timeout     time.Duration
	Duration    time.Duration
	Refuse      string
}

// capacity is how many requests a second can be handled at most.
func (l load) capacity() float64 { return float64(l.Concurrency) / l.Handle.Seconds() }

func main() {
	var l load
	flag.IntVar(&l.Callers, "callers", 10_000, "how many callers wait at once at most; further calls are not begun")
	flag.Float64Var(&l.Times, "times", 3, "how many times the service's capacity is asked of it")
	flag.DurationVar(&l.Handle, "handle", 10*time.Millisecond, "how long a handler waits")
	flag.BoolVar(&l.Heed, "heed", false, "handlers end early when their context does")
	flag.IntVar(&l.Concurrency, "concurrency", 16, "how many requests are handled at once")
	flag.IntVar(&l.Prefetch, "prefetch", 0, "how many requests the worker is handed ahead; 0 is the default")
	flag.DurationVar(&l.Timeout, "timeout", time.Second, "how long a caller waits")
	flag.DurationVar(&l.Duration, "duration", 20*time.Second, "for how long calls are counted; calls before and after it make sure that all see the same load")
	flag.StringVar(&l.Refuse, "refuse", "", "what a middleware refuses: \"late\" the requests whose deadline has passed, without any tolerance; \"early\" also those with less time left than -handle")
	cancel := flag.Bool("cancel", false, "instead: begin -callers calls, and cancel all of them at once")
	profile := flag.String("profile", "", "a file for the CPU profile of the callers' process")
	flag.Parse()
	run := func(ctx context.Context) error {
		if *cancel {
			return with(ctx, l, func(s system) error { return cancelAll(ctx, s, l, *profile) })
		}
		if err := l.check(); err != nil {
			return err
		}
		return with(ctx, l, func(s system) error { return overload(ctx, s, l, *profile) })
	}
	if job := os.Getenv(workerJob); job != "" {
		run = func(ctx context.Context) error { return work(ctx, job) }
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check returns what is wrong with a load that is to be measured.
func (l load) check() error {
	switch {
	case l.Callers < 1 || l.Times <= 0 || l.Handle <= 0 || l.Concurrency < 1 || l.Timeout <= 0 || l.Duration <= 0:
		return errors.New("every number must be positive")
	case l.Refuse != "" && l.Refuse != "late" && l.Refuse != "early":
		return fmt.Errorf("-refuse is %q; it must be late or early", l.Refuse)
	default:
		return nil
	}
}

// system is what a load is put on.
type system struct {
	broker string // its version
	worker *worker
	conn   *leveret.Conn
	client *leveret.Client
}

// with starts a system, and ends it when f has returned.
func with(ctx context.Context, l load, f func(system) error) error {
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.WithoutCancel(ctx)) }()
	w, err := start(ctx, node.URL(), l)
	if err != nil {
		return err
	}
	defer w.kill()
	conn, client, err := connect(ctx, node.URL())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return f(system{node.Version(), w, conn, client})
}

// overload makes calls at a fixed rate, whatever becomes of them, and prints what did.
func overload(ctx context.Context, s system, l load, profile string) error {
	stop, err := profiled(profile)
	if err != nil {
		return err
	}
	fmt.Printf("RabbitMQ %s; %d handlers of %v, so %.0f requests a second; %.0f calls a second for %v, with a timeout of %v\n",
		s.broker, l.Concurrency, l.Handle, l.capacity(), l.capacity()*l.Times, l.Duration, l.Timeout)
	c := newCallers(s.client, l)
	c.run(ctx)
	stop()
	handled, err := s.worker.end()
	if err != nil {
		return err
	}
	report(os.Stdout, l, c, handled)
	return nil
}

func connect(ctx context.Context, url string) (*leveret.Conn, *leveret.Client, error) {
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}, Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	client, err := leveret.NewClient(conn, calling, leveret.ClientConfig{})
	return conn, client, err
}

// profiled starts a CPU profile, and returns what ends it.
func profiled(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

// cpu returns the CPU time that this process has used.
func cpu() time.Duration {
	used, _ := measure.CPU()
	return used
}
