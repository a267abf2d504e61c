package compare

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/measure"
)

// A CountedWay is a way whose connections go through relays, such as measure.Relay.
type CountedWay struct {
	Way
	Hops []Hop
}

// A Hop is one of the connections that an operation takes: "caller–broker". Traffic returns what has gone over it so
// far, sent away from the caller and received from there.
type Hop struct {
	Name    string
	Traffic func() measure.Traffic
}

// BytesConfig is how bytes are counted. The zero value of an optional field is its default.
type BytesConfig struct {
	Ways []CountedWay
	// Operations is how many are counted, and InFlight how many of them at once. Default 1000 and 16.
	Operations, InFlight int
}

// Bytes are what an operation takes of each hop.
type Bytes struct {
	Way   string     `json:"way"`
	Label string     `json:"label"`
	Hops  []HopBytes `json:"hops"`
}

// HopBytes are what an operation takes of one hop, with all that accompanies it: headers, acknowledgements, and the
// TCP payload of whatever else the connection carries, but nothing of TCP itself.
type HopBytes struct {
	Name string `json:"name"`
	// Sent and Received are in bytes for each operation, away from the caller and towards it.
	Sent     float64 `json:"sent_bytes"`
	Received float64 `json:"received_bytes"`
	// Connections is how many were opened.
	Connections int64 `json:"connections"`
}

// Bytes counts the bytes of an operation of each way, after its connections were opened. An operation that fails is an
// error.
func (c *Comparison) Bytes(ctx context.Context, config BytesConfig) ([]Bytes, error) {
	config.Operations, config.InFlight = cmp.Or(config.Operations, 1000), cmp.Or(config.InFlight, 16)
	var ways []Way
	for _, w := range config.Ways {
		ways = append(ways, w.Way)
	}
	if err := check(ways); err != nil {
		return nil, err
	}
	step := c.steps("bytes", len(config.Ways))
	var rows []Bytes
	for _, w := range config.Ways {
		step(w.Label)
		if err := c.some(ctx, w.Way, 2*config.InFlight, config.InFlight); err != nil {
			return nil, err
		}
		before := make([]measure.Traffic, len(w.Hops))
		for i, h := range w.Hops {
			before[i] = h.Traffic()
		}
		if err := c.some(ctx, w.Way, config.Operations, config.InFlight); err != nil {
			return nil, err
		}
		row := Bytes{Way: w.Name, Label: w.Label}
		for i, h := range w.Hops {
			after := h.Traffic()
			per := func(n int64) float64 { return float64(n) / float64(config.Operations) }
			row.Hops = append(row.Hops, HopBytes{
				h.Name, per(after.Sent - before[i].Sent), per(after.Received - before[i].Received), after.Connections,
			})
		}
		rows = append(rows, row)
	}
	step("")
	return rows, nil
}

// some does n operations, and waits for their effects, and for what follows those.
func (c *Comparison) some(ctx context.Context, w Way, n, inFlight int) error {
	a := c.open(w)
	defer c.release(a)
	var next atomic.Int64
	var all sync.WaitGroup
	for range inFlight {
		all.Go(func() {
			for done := false; !done; {
				done = next.Add(1) > int64(n) || a.do(ctx, time.Now()) != nil
			}
		})
	}
	all.Wait()
	if a.err != nil {
		return fmt.Errorf("%s: %w", w.Label, a.err)
	}
	return c.settle(ctx, true, a)
}
