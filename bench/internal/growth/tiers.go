package growth

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

const (
	late    = "late, s"
	waiting = "waiting before it"
)

// sharedTier: how late a retry comes back, by how many messages of another service wait in the same tier.
var sharedTier = plan{
	name: "shared-tier", title: "Strangers in a shared retry tier", of: "messages before it",
	about: "This many messages of another service have just failed, and then one of ours, with the same delay: how much later than its delay it comes back. " +
		"All services share the retry tiers, as by default.",
	full: strangersFull, short: strangersShort, share: 0.4,
	figures: []kind{{waiting, counted}, {late, lasting}},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.late(ctx, size, false, found)
	},
}

// ownTier: the same, where each service has tiers of its own.
var ownTier = plan{
	name: "own-tiers", title: "Strangers in tiers of their own", of: "messages of theirs",
	about: "The same with the isolated layout, in which each service has retry tiers of its own.",
	full:  strangersFull, short: strangersShort, share: 0.4,
	figures: []kind{{waiting, counted}, {late, lasting}},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.late(ctx, size, true, found)
	},
}

var strangersFull, strangersShort = []int{100, 1_000, 10_000, 50_000}, []int{10, 300, 3_000}

// The delay is long enough for the strangers' messages to be in the tier before the first of them goes back.
const (
	delay      = 15 * time.Second
	delayShort = 2 * time.Second
)

func (g *grower) late(ctx context.Context, size int, isolated bool, found values) error {
	return g.host(ctx, func(url string) error {
		t := task(measure.Late, url)
		t.Messages, t.Isolated, t.Setting.RetryDelay = size, isolated, delay
		if g.Short {
			t.Setting.RetryDelay = delayShort
		}
		return inTurn(ctx, step{t, func(r measure.Result) { found[waiting], found[late] = r.Extra["waiting"], r.Extra["late"] }})
	})
}
