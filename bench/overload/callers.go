package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A call is what became of one, as its caller saw it.
type call struct {
	id                   string
	start, deadline, end time.Time
	err                  error
	counted              bool
}

// callers make calls at a fixed rate.
type callers struct {
	client *leveret.Client
	load   load

	waiting atomic.Int64

	mu    sync.Mutex
	calls []call // that have ended

	// Of the counted time.
	notBegun    int // because too many waited
	mostWaiting int64
	lag         time.Duration // how late a call began at most
	cpu         time.Duration
}

func newCallers(client *leveret.Client, l load) *callers {
	total := int(l.capacity() * l.Times * (l.Duration + 4*l.Timeout + 2*time.Second).Seconds())
	return &callers{client: client, load: l, calls: make([]call, 0, total)}
}

// run makes calls and returns when all have ended. Those of the beginning, until the queue is as long as it gets, and
// those of the end are not counted.
func (c *callers) run(ctx context.Context) {
	rate := c.load.capacity() * c.load.Times
	from := 2*c.load.Timeout + time.Second
	to := from + c.load.Duration
	end := to + c.load.Timeout
	var running sync.WaitGroup
	began := time.Now()
	var cpuFrom time.Duration
	for n := 0; ctx.Err() == nil; {
		now := time.Since(began)
		if now >= end {
			break
		}
		counted := now >= from && now < to
		if counted && cpuFrom == 0 {
			cpuFrom = cpu()
		}
		if now >= to && c.cpu == 0 {
			c.cpu = cpu() - cpuFrom
		}
		for ; float64(n) < now.Seconds()*rate; n++ {
			if counted {
				c.lag = max(c.lag, now-time.Duration(float64(n)/rate*float64(time.Second)))
				c.mostWaiting = max(c.mostWaiting, c.waiting.Load())
			}
			if c.waiting.Load() >= int64(c.load.Callers) {
				if counted {
					c.notBegun++
				}
				continue
			}
			c.waiting.Add(1)
			running.Go(func() {
				c.call(ctx, n, counted)
				c.waiting.Add(-1)
			})
		}
		time.Sleep(time.Millisecond)
	}
	running.Wait()
}

// call makes one call.
func (c *callers) call(ctx context.Context, n int, counted bool) {
	this := call{start: time.Now(), counted: counted}
	ctx, cancel := context.WithTimeout(ctx, c.load.Timeout)
	defer cancel()
	this.deadline, _ = ctx.Deadline()
	m, err := ask.Message(ctx, question{n})
	if err == nil {
		this.id = m.ID
		err = c.client.Call(ctx, m)
	}
	this.end, this.err = time.Now(), err
	c.mu.Lock()
	c.calls = append(c.calls, this)
	c.mu.Unlock()
}
