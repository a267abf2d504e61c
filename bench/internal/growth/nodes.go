package growth

import (
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

const confirmed = "p50 of a confirm, ms"

// nodes: a quorum queue, by the members that it has.
var nodes = plan{
	name: "nodes", title: "Nodes of a cluster", of: "nodes",
	about: "A cluster of this many nodes, all on this machine, and one quorum queue with a member on each: sending with pipelined confirms, consuming, and " +
		"one sender that waits for each confirm. The nodes share the cores that one node has for itself, and no network lies between them.",
	full: []int{1, 3}, share: 1,
	figures: []kind{{sent, timed}, {handled, timed}, {confirmed, timed}},
	do: func(ctx context.Context, g *grower, size int, found values) (err error) {
		first, err := devbroker.Start(ctx, devbroker.Config{Private: true})
		if err != nil {
			return err
		}
		all := []*devbroker.Broker{first}
		defer func() {
			for _, node := range all {
				err = errors.Join(err, node.Close(context.WithoutCancel(ctx)))
			}
		}()
		for len(all) < size {
			node, err := devbroker.Start(ctx, devbroker.Config{Join: first})
			if err != nil {
				return err
			}
			all = append(all, node)
		}
		url := first.URL() // its default virtual host, since each node is for this alone
		fill, consume := task(measure.Fill, url), task(measure.Consume, url)
		fill.Messages, consume.Messages, consume.Skip = 30_000, 30_000, 3_000
		wait := task(measure.Waiters, url)
		wait.N, wait.Warm, wait.Duration = 1, 500*time.Millisecond, 3*time.Second
		return inTurn(ctx,
			step{fill, func(r measure.Result) { found[sent] = r.Rate() }},
			step{consume, func(r measure.Result) { found[handled] = r.Rate() }},
			step{wait, func(r measure.Result) { found[confirmed] = r.P50 * 1e3 }})
	},
}
