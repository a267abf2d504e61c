package growth

import (
	"context"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

// queues: a worker, by the number of queues that it consumes.
var queues = plan{
	name: "queues", title: "Queues of a worker", of: "queues",
	about: "One worker that consumes this many queues, one for each command: until it consumes all, when everything has to be declared and when it " +
		"is there; then sending from 64 goroutines and handling in the same process, over all of them in turn.",
	full: []int{1, 5, 10, 25, 50, 100}, short: []int{1, 5, 20}, share: 0.2,
	figures: []kind{
		{startFrames, counted}, {startTime, lasting}, {againTime, lasting}, {written, batched}, {read, batched}, {bytes, counted}, {handled, timed}, {cpu, timed},
		{connections, counted}, {channels, counted}, {goroutines, counted}, {heap, stored},
	},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		messages := 10_000
		if g.Short {
			messages = 3_000
		}
		start := task(measure.Startup, "")
		start.Setting.Queues = names(size)
		through := task(measure.Through, "")
		through.Setting.Queues, through.Messages, through.Skip = names(size), messages, messages/5
		counting := func(url string) error {
			start.Setting.URL, through.Setting.URL = url, url
			return inTurn(ctx, step{tapped(start), found.started}, step{tapped(through), found.travelled})
		}
		if err := g.host(ctx, counting); err != nil {
			return err
		}
		return g.host(ctx, func(url string) error {
			start.Setting.URL, through.Setting.URL = url, url
			return inTurn(ctx,
				step{start, func(r measure.Result) { found[startTime], found[againTime] = r.Extra["first"], r.Extra["again"] }},
				step{through, found.took})
		})
	},
}
