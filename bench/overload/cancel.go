package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// cancelAll begins calls that cannot all be answered soon, cancels them at once, and prints what that takes, and what
// the worker still does for callers that are gone.
func cancelAll(ctx context.Context, s system, l load, profile string) error {
	hints, err := countHints(ctx, s.conn)
	if err != nil {
		return err
	}

	if _, err := ask.Call(ctx, s.client, question{}); err != nil { // everything is declared and open from now on
		return err
	}

	var waiting, errored, answered atomic.Int64
	var running sync.WaitGroup
	calls, cancel := context.WithCancel(ctx)
	defer cancel()
	before, began := cpu(), time.Now()
	for n := range l.Callers {
		waiting.Add(1)
		running.Go(func() {
			defer waiting.Add(-1)
			ctx, stop := context.WithTimeout(calls, l.Timeout)
			defer stop()
			m, err := ask.Message(ctx, question{n})
			if err == nil {
				err = s.client.Call(ctx, m)
			}
			switch {
			case err == nil:
				answered.Add(1)
			case !errors.Is(err, leveret.Canceled):
				errored.Add(1)
			}
		})
	}
	queue := leveret.QueueName(s.conn.Names(), ask, answering.Name(), "")
	for stable, last := 0, 0; stable < 3; { // until no more arrive
		state, err := s.conn.Rabbit().Inspect(ctx, queue)
		if err != nil {
			return err
		}
		if stable++; state.Ready == 0 || state.Ready > last {
			stable = 0
		}
		last = state.Ready
		time.Sleep(50 * time.Millisecond)
	}
	state, err := s.conn.Rabbit().Inspect(ctx, queue)
	if err != nil {
		return err
	}
	fmt.Printf("RabbitMQ %s; %d handlers of %v: %d calls begun in %v, CPU %v; %d wait, %d in the queue\n", s.broker, l.Concurrency,
		l.Handle, l.Callers, time.Since(began).Round(time.Millisecond), (cpu() - before).Round(time.Millisecond), waiting.Load(), state.Ready)

	stop, err := profiled(profile)
	if err != nil {
		return err
	}
	before, began = cpu(), time.Now()
	cancelled := began
	cancel()
	running.Wait()
	took, used := time.Since(began), cpu()-before
	stop()
	of := int64(l.Callers) - answered.Load() - errored.Load()
	fmt.Printf("cancelled %d: all had returned after %v, CPU %v, %.1f µs a call\n", of, took.Round(100*time.Microsecond),
		used.Round(100*time.Microsecond), float64(used.Microseconds())/float64(max(of, 1)))
	fmt.Printf("answered before %d, other errors %d\n", answered.Load(), errored.Load())

	empty := time.Time{}
	for time.Since(began) < l.Timeout+5*time.Second {
		if state, err = s.conn.Rabbit().Inspect(ctx, queue); err != nil {
			return err
		}
		if state.Ready == 0 {
			empty = time.Now()
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(time.Second + 4*l.Handle) // what the worker has in hand
	fmt.Printf("hints that reached the broker: %d of %d\n", hints.Load(), of)
	if !empty.IsZero() {
		fmt.Printf("the queue was empty %v after the cancelling\n", empty.Sub(cancelled).Round(10*time.Millisecond))
	}
	did, err := s.worker.end()
	if err != nil {
		return err
	}
	late, inHand := 0, 0
	for _, h := range did.Handlings {
		switch {
		case h.Begin.After(cancelled):
			late++
		case h.End.After(cancelled):
			inHand++
		}
	}
	fmt.Printf("worker: running when cancelled %d; begun after the cancelling %d; expired %d; CPU %v\n",
		inHand, late, len(did.Expired), did.CPU.Round(10*time.Millisecond))
	return nil
}

// countHints counts the messages that say that a caller has cancelled.
func countHints(ctx context.Context, conn *leveret.Conn) (*atomic.Int64, error) {
	ch, err := conn.Rabbit().Channel(ctx)
	if err != nil {
		return nil, err
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return nil, err
	}
	n := conn.Names()
	if err := ch.QueueBind(q.Name, n.CancelKey("overload.ask"), n.ControlExchange("overload"), false, nil); err != nil {
		return nil, err
	}
	deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		return nil, err
	}
	var count atomic.Int64
	go func() {
		for range deliveries {
			count.Add(1)
		}
	}()
	return &count, nil
}
