package report

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/results"
	"github.com/leveretmq/leveret/bench/internal/runner"
	shared "github.com/leveretmq/leveret/pkg/measure"
)

// charted are the scenarios that the chart shows.
var charted = []string{"publish", "waiters-1", "waiters-50", "waiters-500", "consume", "handler-16", "call-1", "call-64"}

var colours = map[string]string{peers.Leveret: "#c2410c", peers.Raw: "#475569", peers.RawBatched: "#64748b", peers.Telemetry: "#ea9a6b"}

// Chart draws the throughput of some scenarios as SVG: one panel each, one bar for each peer, the spread as a line.
func Chart(w io.Writer, run *results.Run) error {
	var panels []runner.Scenario
	for _, s := range measured(run) {
		for _, name := range charted {
			if s.Name == name {
				panels = append(panels, s)
			}
		}
	}
	if len(panels) == 0 {
		panels = measured(run)
	}
	chart := shared.Chart{
		Title: "Throughput, each at its strongest guarantee (more is better)",
		About: "Throughput of Leveret, of the raw driver and of other libraries",
	}
	compared := ""
	for _, s := range panels {
		chart.Panels = append(chart.Panels, panel(run, s))
		if over(run, s.Name, peers.Raw, rate).Known() {
			compared = ", and how many times the median of raw that is"
		}
	}
	chart.Subtitle = fmt.Sprintf("Median of %d rounds%s; line: smallest to largest; "+
		"hatched: was found to lose messages in this way. RabbitMQ %s on the same machine, %d cores, %s",
		run.Rounds, compared, run.Broker, run.Machine.Cores, run.Began.UTC().Format("2006-01-02"))
	return chart.Write(w)
}

// panel shows one scenario.
func panel(run *results.Run, s runner.Scenario) shared.Panel {
	var names []string
	for _, p := range run.Peers {
		if over(run, s.Name, p.Name, rate).Known() {
			names = append(names, p.Name)
		}
	}
	drawn := shared.Panel{Title: s.Title, Unit: "messages per second"}
	for _, name := range byRate(run, s.Name, names) {
		v := over(run, s.Name, name, rate)
		bar := shared.Bar{
			Label: name, Bold: name == peers.Leveret, Fill: colours[name], Value: v.Median, Min: v.Min, Max: v.Max, Note: fmt.Sprintf("%.0f", v.Median),
		}
		if strings.Contains(page{run: run}.loses(s, name), "yes") {
			bar.Fill = shared.Hatched
		}
		// The ratio is that of the figures that are shown. The page has the median of the rounds' ratios, which is another number.
		raw := math.Round(over(run, s.Name, peers.Raw, rate).Median)
		if name != peers.Raw && raw > 0 {
			bar.Note += " · " + times(math.Round(v.Median)/raw) + " × raw"
		}
		drawn.Bars = append(drawn.Bars, bar)
	}
	return drawn
}
