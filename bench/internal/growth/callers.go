package growth

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/process"
)

const (
	calls       = "calls/s"
	median      = "p50 of a call, ms"
	slowest     = "p99 of a call, ms"
	callWritten = "frames written for each call"
	callRead    = "frames read for each call"
)

// callers: a client that calls, by how many calls are made at once.
var callers = plan{
	name: "callers", title: "Callers", of: "callers",
	about: "One client, with this many goroutines that each call and wait for the reply, one call after the other; one worker process with 16 handlers " +
		"that answer at once. The goroutines that are counted are the client's, without those that call, whose stacks are in the memory.",
	full: []int{1, 4, 16, 64, 256, 1000}, short: []int{1, 10, 100}, share: 0.15,
	figures: []kind{
		{callWritten, counted}, {callRead, counted}, {calls, timed}, {median, timed}, {slowest, timed},
		{connections, counted}, {channels, counted}, {goroutines, counted}, {heap, stored},
	},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error {
			server, err := process.Start(ctx, task(measure.Serve, url))
			if err != nil {
				return err
			}
			defer server.Kill()
			if err := server.Ready(ctx); err != nil {
				return err
			}
			t := task(measure.Call, url)
			t.N, t.Warm, t.Duration = size, 300*time.Millisecond, 2*time.Second
			if g.Short {
				t.Duration = time.Second
			}
			return inTurn(ctx,
				step{tapped(t), func(r measure.Result) {
					found.started(r)
					found[callWritten], found[callRead] = r.PerMessage(float64(r.Wire.Written.Frames)), r.PerMessage(float64(r.Wire.Read.Frames))
				}},
				step{t, func(r measure.Result) { found[calls], found[median], found[slowest] = r.Rate(), r.P50*1e3, r.P99*1e3 }})
		})
	},
}
