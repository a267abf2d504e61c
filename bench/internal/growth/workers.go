package growth

import (
	"context"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

// workers: by their number, on one queue.
var workers = plan{
	name: "workers", title: "Workers", of: "workers",
	about: "This many workers on one queue, in one process, but each with connections of its own, as if each were a process: what they open, and " +
		"what they handle together with 16 handlers of 1 ms each.",
	full: []int{1, 2, 5, 20, 50, 100, 200}, short: []int{1, 4, 16}, share: 0.3,
	figures: []kind{
		{startFrames, counted}, {startTime, lasting}, {connections, counted}, {channels, counted}, {goroutines, counted}, {heap, stored},
		{brokerEach, stored}, {handled, timed},
	},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error {
			t := task(measure.Startup, url)
			t.Workers = size
			if err := inTurn(ctx, step{tapped(t), func(r measure.Result) {
				found.started(r)
				found[startTime] = r.Extra["first"]
			}}); err != nil {
				return err
			}
			return g.drain(ctx, url, 1, size, found)
		})
	},
}
