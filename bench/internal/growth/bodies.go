package growth

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

// bodiesInFlight is the maximum of body bytes that wait for their confirm.
const bodiesInFlight = 16 << 20

const (
	sentBytes    = "sent MiB/s"
	handledBytes = "handled MiB/s"
)

// bodies: publishing and consuming, by the size of the message.
var bodies = plan{
	name: "body", title: "Size of a message", of: "bytes",
	about: "Publishing with pipelined confirms, 512 messages at once or as many as are 16 MiB, but 16 at least; then consuming with a prefetch of 64: of bodies of 1 MiB the " +
		"worker may hold 64 MiB that wait for it, beside the copies that are handled.",
	full: []int{256, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}, share: 0.35,
	figures: []kind{{written, batched}, {read, batched}, {sent, timed}, {sentBytes, timed}, {handled, timed}, {handledBytes, timed}, {cpu, timed}, {memory, stored}},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error {
			publish := task(measure.Publish, url)
			publish.Body, publish.Warm, publish.Duration = size, 300*time.Millisecond, time.Second
			publish.Setting.Window = min(512, max(16, bodiesInFlight/size))
			r, err := do(ctx, publish)
			if err != nil {
				return err
			}
			found[sent], found[sentBytes] = r.Rate(), r.Rate()*float64(size)/(1<<20)
			through := tapped(task(measure.Through, url))
			through.Setting.Queue, through.Body, through.Messages, through.Skip = queue+"-counted", size, 200, 50
			consume := task(measure.Consume, url)
			consume.Body, consume.Leave, consume.Messages = size, true, int(r.Messages)
			consume.Skip = max(consume.Messages/5, 1)
			return inTurn(ctx, step{consume, func(r measure.Result) {
				found.took(r)
				found[handledBytes] = r.Rate() * float64(size) / (1 << 20)
			}}, step{through, found.travelled})
		})
	},
}
