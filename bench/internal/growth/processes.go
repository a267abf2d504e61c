package growth

import "context"

// processes: the same, but a process each.
var processes = plan{
	name: "processes", title: "Worker processes", of: "processes",
	about: "This many worker processes on one queue, 16 handlers of 1 ms each; the sum of what they handle. One process is limited by its handlers, to " +
		"16,000/s; a queue by the core that it uses; and all by the cores that broker and workers share.",
	full: []int{1, 2, 4, 8}, share: 0.15,
	figures: []kind{{handled, timed}, {cpu, timed}, {memory, stored}},
	do: func(ctx context.Context, g *grower, size int, found values) error {
		return g.host(ctx, func(url string) error { return g.drain(ctx, url, size, 1, found) })
	},
}
