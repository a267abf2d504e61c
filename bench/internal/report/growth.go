package report

import (
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/bench/internal/growth"
)

var series = []struct{ what, title, about string }{
	{"contracts", "Growth: contracts", "One service with this many commands, each with its queues: the time until its worker consumes them all, " +
		"when everything has to be declared and when it is there; then sending from 64 goroutines and handling, all in one process."},
	{"workers", "Growth: workers", "This many worker processes on one queue, 16 handlers of 1 ms each; the sum of what they handle. The broker and a quorum " +
		"queue, which uses one core, are the limit."},
	{"backlog", "Growth: backlog", fmt.Sprintf("A queue with this many messages: filling it, and a worker that takes %d of them, or all if there are "+
		"fewer, with the most memory that it had.", growth.Taken)},
	{"body", "Growth: body", fmt.Sprintf("Publishing with pipelined confirms, 512 at once or as many as are %d MiB; then consuming, with a prefetch of %d: of "+
		"bodies of 1 MiB, the worker may hold %d MiB that wait for it, beside the copies that are handled.",
		growth.BodiesInFlight>>20, growth.Prefetch, growth.Prefetch)},
}

const once = "Measured once for each size, unlike the scenarios above: see large differences, not small ones."

func (p page) growth() {
	for _, s := range series {
		var rows []growth.Row
		for _, row := range p.run.Growth {
			if row.What == s.what {
				rows = append(rows, row)
			}
		}
		if len(rows) == 0 {
			continue
		}
		p.line("## %s\n\n%s %s\n", s.title, s.about, once)
		starts := slices.ContainsFunc(rows, func(r growth.Row) bool { return r.First > 0 })
		sends := slices.ContainsFunc(rows, func(r growth.Row) bool { return r.Sent > 0 })
		cells := []string{s.what}
		if starts {
			cells = append(cells, "start, declaring, s", "start again, s")
		}
		if sends {
			cells = append(cells, "sent/s")
		}
		if s.what == "body" {
			cells = append(cells, "sent MiB/s", "handled MiB/s")
		}
		p.head(append(cells, "handled/s", "CPU µs", "peak MiB")...)
		for _, r := range rows {
			cells := []string{fmt.Sprint(r.Size)}
			if r.Skipped {
				p.row(append(cells, "not measured")...)
				continue
			}
			if starts {
				cells = append(cells, seconds(r.First), seconds(r.Again))
			}
			if sends {
				cells = append(cells, fmt.Sprintf("%.0f", r.Sent))
			}
			if s.what == "body" {
				cells = append(cells, mebibytes(r.Sent, r.Size), mebibytes(r.Handled, r.Size))
			}
			handled := fmt.Sprintf("%.0f", r.Handled)
			if r.Err != "" {
				handled = "failed: " + oneLine(r.Err)
			}
			p.row(append(cells, handled, fmt.Sprintf("%.1f", r.CPU*1e6), fmt.Sprint(r.RSS>>20))...)
		}
		p.line("")
	}
}

func mebibytes(rate float64, size int) string { return fmt.Sprintf("%.1f", rate*float64(size)/(1<<20)) }
