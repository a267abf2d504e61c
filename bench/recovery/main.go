// Command recovery prints how many messages a worker handles in each second before and after it loses its connection,
// its broker restarts, or it is killed, over a standing backlog.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/bench/internal/machine"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/management"
)

type job struct {
	N int `json:"n"`
}

var (
	do      = leveret.NewCommand[job]("recovery.do")
	service = leveret.NewService("recovery", leveret.Handles(do), leveret.Sends(do))
)

// The environment that makes of this program the worker.
const (
	workerURL  = "RECOVERY_URL"
	workerTake = "RECOVERY_TAKE"
)

func main() {
	take := flag.Duration("handler", time.Second, "how long a handler takes")
	seconds := flag.Int("seconds", 5, "for how many seconds before and after each event messages are counted")
	storm := flag.Bool("storm", false, "instead: ten stops, five restarts of the broker and five kills over one backlog; does anything become a dead letter?")
	flag.Parse()
	run := func() error { return measure(context.Background(), *take, *seconds) }
	if *storm {
		run = func() error { return weather(context.Background(), *take) }
	}
	if url := os.Getenv(workerURL); url != "" {
		run = func() error { return work(context.Background(), url) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work handles messages until it is killed, and writes a line for each.
func work(ctx context.Context, url string) error {
	take, err := time.ParseDuration(os.Getenv(workerTake))
	if err != nil {
		return err
	}
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}})
	if err != nil {
		return err
	}
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	do.Handle(h, func(context.Context, job) error {
		time.Sleep(take)
		fmt.Println()
		return nil
	})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	return w.Run(ctx)
}

// weather stops and kills a worker and its broker again and again, while the same messages are in the worker's hands,
// and then lets them be handled.
func weather(ctx context.Context, take time.Duration) error {
	load := machine.Load()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.WithoutCancel(ctx)) }()
	const n = 200
	if err := fill(ctx, node.URL(), n); err != nil {
		return err
	}
	var handled atomic.Int64
	end := func(worker *exec.Cmd, how os.Signal) {
		_ = worker.Process.Signal(how)
		_ = worker.Wait()
	}
	for i := range 20 {
		before := handled.Load()
		worker, err := start(ctx, node.URL(), take, &handled)
		if err != nil {
			return err
		}
		for handled.Load() == before && before < n { // it has its hands full
			time.Sleep(time.Millisecond)
		}
		switch {
		case i%2 == 0:
			end(worker, syscall.SIGTERM)
		case i%4 == 1:
			end(worker, syscall.SIGKILL)
		default:
			if err := node.Kill(); err != nil {
				return err
			}
			if err := node.Start(ctx); err != nil {
				return err
			}
			end(worker, syscall.SIGTERM)
		}
	}
	fmt.Printf("RabbitMQ %s; at the start: %s\nten stops, five kills, five restarts: %d of %d handled, some of them twice\n",
		node.Version(), load, handled.Load(), n)
	worker, err := start(ctx, node.URL(), time.Millisecond, &handled)
	if err != nil {
		return err
	}
	defer end(worker, syscall.SIGTERM)
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{node.URL()}})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	names := conn.Names()
	left := func(queue string) int {
		state, err := conn.Rabbit().Inspect(ctx, queue)
		if err != nil {
			return -1
		}
		return state.Ready
	}
	queue := names.ContractQueue("recovery.do")
	for quiet, last := time.Now(), int64(0); time.Since(quiet) < 20*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := handled.Load(); now != last || left(queue) > 0 || left(names.Quarantine("recovery")) > 0 {
			quiet, last = time.Now(), now
		}
	}
	fmt.Printf("handled %d, dead letters %d, waiting %d, in quarantine %d\n",
		handled.Load(), left(names.DeadLetterQueue(queue)), left(queue), left(names.Quarantine("recovery")))
	return nil
}

func measure(ctx context.Context, take time.Duration, seconds int) error {
	load := machine.Load()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.WithoutCancel(ctx)) }()
	if err := fill(ctx, node.URL(), 20*seconds*int(16*time.Second/take)); err != nil {
		return err
	}
	var handled atomic.Int64
	worker, err := start(ctx, node.URL(), take, &handled)
	if err != nil {
		return err
	}
	defer func() { _ = worker.Process.Kill() }()
	fmt.Printf("RabbitMQ %s, 16 handlers of %v, prefetch 64; at the start: %s\nmessages handled in each second:\n", node.Version(), take, load)
	for handled.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	count := func(what string) {
		fmt.Printf("%-28s", what)
		for range seconds {
			before := handled.Load()
			time.Sleep(time.Second)
			fmt.Printf("%5d", handled.Load()-before)
		}
		fmt.Println()
	}
	count("before")
	if err := cut(ctx, node); err != nil {
		return err
	}
	count("after a lost connection")
	if err := node.Kill(); err != nil {
		return err
	}
	if err := node.Start(ctx); err != nil {
		return err
	}
	count("after the broker's restart")
	_ = worker.Process.Kill()
	_ = worker.Wait()
	if worker, err = start(ctx, node.URL(), take, &handled); err != nil {
		return err
	}
	count("after a killed worker")
	return nil
}

func fill(ctx context.Context, url string, n int) error {
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	client, err := leveret.NewClient(conn, service, leveret.ClientConfig{})
	if err != nil {
		return err
	}
	pipeline := client.Pipeline(nil)
	for i := range n {
		m, err := do.Message(ctx, job{N: i})
		if err != nil {
			return err
		}
		if err := pipeline.Write(ctx, m); err != nil {
			return err
		}
	}
	return pipeline.Flush(ctx)
}

// start starts the worker process, whose lines are counted.
func start(ctx context.Context, url string, take time.Duration, handled *atomic.Int64) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workerURL+"="+url, workerTake+"="+take.String())
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			handled.Add(1)
		}
	}()
	return cmd, nil
}

// cut closes all connections to the node, as an operator does.
func cut(ctx context.Context, node *devbroker.Broker) error {
	api, err := node.Management()
	if err != nil {
		return err
	}
	var open []struct {
		Name string `json:"name"`
	}
	for len(open) == 0 { // the API hears of connections some seconds late
		if err := api.Call(ctx, http.MethodGet, nil, &open, "connections"); err != nil {
			return err
		}
	}
	for _, c := range open {
		if err := api.Call(ctx, http.MethodDelete, nil, nil, "connections", c.Name); err != nil && !errors.Is(err, management.ErrNotFound) {
			return err
		}
	}
	return nil
}
