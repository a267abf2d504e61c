package growth

import (
	"context"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

const (
	firstTime   = "until the first is handled, s"
	brokerQueue = "broker's memory for queues, MiB"

	// taken is how many messages a worker takes from a backlog, or all if there are fewer.
	taken = 50_000
)

// backlog: the cost of consuming from a queue, by its length.
var backlog = plan{
	name: "backlog", title: "Backlog", of: "messages",
	about: "A queue with this many messages: filling it, and then a worker that takes 50,000 of them, or all if there are fewer. The broker's memory is what quorum " +
		"queues, their tables and binaries take when the queue is full.",
	full: []int{1_000, 10_000, 100_000, 300_000, 1_000_000}, short: []int{1_000, 2_000, 5_000}, share: 0.8,
	figures: []kind{{sent, timed}, {handled, timed}, {firstTime, lasting}, {written, batched}, {read, batched}, {cpu, timed}, {memory, stored}, {brokerQueue, stored}},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error {
			fill := task(measure.Fill, url)
			fill.Messages = size
			if err := inTurn(ctx, step{fill, func(r measure.Result) { found[sent] = r.Rate() }}); err != nil {
				return err
			}
			broker, err := g.memory(ctx)
			if err != nil {
				return err
			}
			found[brokerQueue] = float64(broker.queues()) / (1 << 20)
			consume := task(measure.Consume, url)
			consume.Messages, consume.Leave = min(taken, size), true
			consume.Skip = consume.Messages / 5
			if err := inTurn(ctx, step{consume, func(r measure.Result) {
				found.took(r)
				found[firstTime] = r.Extra["first"]
			}}); err != nil {
				return err
			}
			refill := task(measure.Fill, url) // of a small backlog nothing may be left
			refill.Messages = 2_000
			counting := task(measure.Consume, url)
			counting.Messages, counting.Skip, counting.Leave = 1_000, 200, true
			return inTurn(ctx, step{task: refill}, step{tapped(counting), found.travelled})
		})
	},
}
