// Command comeback prints how long workers take to consume again after their broker was killed: from the moment when
// the broker's listener answers to the moment when every worker is ready.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leveretmq/leveret/bench/internal/machine"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type job struct {
	N int `json:"n"`
}

func main() {
	workers := flag.Int("workers", 1, "how many workers, with two connections each")
	tries := flag.Int("tries", 20, "how often the broker is killed and started")
	flag.Parse()
	if err := run(context.Background(), *workers, *tries); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n, tries int) error {
	load := machine.Load()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.WithoutCancel(ctx)) }()
	workers, err := start(ctx, node.URL(), n)
	if err != nil {
		return err
	}
	fmt.Printf("RabbitMQ %s, %d workers; at the start: %s\n", node.Version(), n, load)
	var took []time.Duration
	for try := range tries {
		d, err := comeback(ctx, node, workers)
		if err != nil {
			return fmt.Errorf("try %d: %w", try+1, err)
		}
		fmt.Printf("%2d: %v\n", try+1, d.Round(time.Millisecond))
		took = append(took, d)
	}
	slices.Sort(took)
	fmt.Printf("least %v, median %v, most %v\n", took[0].Round(time.Millisecond), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	return nil
}

// start runs n workers on one queue until ctx ends.
func start(ctx context.Context, address string, n int) ([]*leveret.Worker, error) {
	do := leveret.NewCommand[job]("comeback.do")
	service := leveret.NewService("comeback", leveret.Handles(do))
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	workers := make([]*leveret.Worker, n)
	var starting errgroup.Group
	for i := range n {
		starting.Go(func() error {
			conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{address}, Instance: fmt.Sprint(i), Logger: quiet})
			if err != nil {
				return err
			}
			h := leveret.NewHandlers(service, leveret.HandlersConfig{})
			do.Handle(h, func(context.Context, job) error { return nil })
			w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
			if err != nil {
				return err
			}
			workers[i] = w
			go func() { _ = w.Run(ctx) }()
			return nil
		})
	}
	if err := starting.Wait(); err != nil {
		return nil, err
	}
	await(workers, true)
	return workers, nil
}

func comeback(ctx context.Context, node *devbroker.Broker, workers []*leveret.Worker) (time.Duration, error) {
	u, err := url.Parse(node.URL())
	if err != nil {
		return 0, err
	}
	if err := node.Kill(); err != nil {
		return 0, err
	}
	await(workers, false)
	var up, ready time.Time
	var both sync.WaitGroup
	both.Go(func() {
		for {
			c, err := net.Dial("tcp", u.Host)
			if err == nil {
				up = time.Now()
				_ = c.Close()
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	both.Go(func() {
		await(workers, true)
		ready = time.Now()
	})
	if err := node.Start(ctx); err != nil {
		return 0, err
	}
	both.Wait()
	return ready.Sub(up), nil
}

// await waits until every worker is ready, or none.
func await(workers []*leveret.Worker, ready bool) {
	for _, w := range workers {
		for (w.Ready() == nil) != ready {
			time.Sleep(time.Millisecond)
		}
	}
}
