package growth

import (
	"context"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

const (
	looked       = "looked at/s"
	lookTime     = "looking, s"
	lookFrames   = "frames to look, for each"
	lookMemory   = "memory to look, MiB"
	replayed     = "replayed/s"
	replayTime   = "replay, s"
	replayFrames = "frames to replay, for each"
	replayMemory = "memory to replay, MiB"
)

// letters: looking at dead letters and replaying them, by their number.
var letters = plan{
	name: "dead-letters", title: "Dead letters", of: "dead letters",
	about: "This many dead letters in one queue, made by a worker that refuses them: looking at all of them, which removes none, and returning all to " +
		"their queue, each in a process of its own. The memory is the most that the process had.",
	full: []int{1_000, 3_000, 10_000, 30_000, 100_000}, short: []int{100, 300, 1_000}, share: 0.4,
	figures: []kind{
		{lookTime, lasting}, {looked, timed}, {lookFrames, counted}, {lookMemory, stored},
		{replayTime, lasting}, {replayed, timed}, {replayFrames, counted}, {replayMemory, stored},
	},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error {
			of := func(kind measure.Kind) measure.Task {
				t := task(kind, url)
				t.Messages = size
				return t
			}
			return inTurn(ctx,
				step{task: of(measure.Fill)},
				step{task: of(measure.Fail)},
				step{tapped(of(measure.Look)), func(r measure.Result) {
					found[lookTime], found[looked], found[lookFrames], found[lookMemory] = r.Seconds, r.Rate(), frames(r), float64(r.PeakRSS)/(1<<20)
				}},
				step{tapped(of(measure.Replay)), func(r measure.Result) {
					found[replayTime], found[replayed], found[replayFrames], found[replayMemory] = r.Seconds, r.Rate(), frames(r), float64(r.PeakRSS)/(1<<20)
				}})
		})
	},
}

// frames is how many travelled for each message, both ways.
func frames(r measure.Result) float64 {
	return r.PerMessage(float64(r.Wire.Written.Frames + r.Wire.Read.Frames))
}
