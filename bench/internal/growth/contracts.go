package growth

import (
	"context"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

// contracts: a client, by the number of contracts that it sends.
var contracts = plan{
	name: "contracts", title: "Contracts of a client", of: "contracts",
	about: "A client of a service that sends this many commands: until it has sent one of each, which declares the queues; then 4,000 messages from " +
		"64 goroutines, over all of them in turn.",
	full: []int{1, 10, 50, 100, 200}, short: []int{1, 5, 20}, share: 0.1,
	figures: []kind{
		{startFrames, counted}, {startTime, lasting}, {written, batched}, {read, batched}, {bytes, counted}, {sent, timed},
		{connections, counted}, {channels, counted}, {goroutines, counted}, {heap, stored},
	},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		t := task(measure.Sends, "")
		t.Messages, t.Setting.Queues = 4_000, names(size)
		counting := func(url string) error {
			t.Setting.URL = url
			return inTurn(ctx, step{tapped(t), func(r measure.Result) {
				found.started(r)
				found.travelled(r)
			}})
		}
		if err := g.host(ctx, counting); err != nil {
			return err
		}
		return g.host(ctx, func(url string) error { // another one, where nothing is declared
			t.Setting.URL = url
			return inTurn(ctx, step{t, func(r measure.Result) { found[startTime], found[sent] = r.Extra["first"], r.Rate() }})
		})
	},
}
