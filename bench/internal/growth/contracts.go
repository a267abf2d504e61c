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

// queues: a worker, by the number of queues that it consumes.
var queues = plan{
	name: "queues", title: "Queues of a worker", of: "queues",
	about: "One worker that consumes this many queues, one for each command: until it consumes all, when everything has to be declared and when it " +
		"is there; then sending from 64 goroutines and handling in the same process, over all of them in turn.",
	full: []int{1, 5, 10, 25, 50, 100}, short: []int{1, 5, 20}, share: 0.12,
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
