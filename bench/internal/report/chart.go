package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/results"
	"github.com/leveretmq/leveret/bench/internal/runner"
)

// charted are the scenarios that the chart shows.
var charted = []string{"publish", "waiters-1", "waiters-50", "waiters-500", "consume", "handler-16", "call-1", "call-64"}

const (
	chartWidth = 960
	panelWidth = chartWidth / 2
	nameWidth  = 110
	barSpace   = 225 // for the longest bar
	barHeight  = 16
	barStep    = 21
	panelHead  = 40
	panelFoot  = 40
	chartHead  = 64
)

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
	height := chartHead
	drawn := &strings.Builder{}
	for i := 0; i < len(panels); i += 2 {
		tallest := 0
		for j, s := range panels[i:min(i+2, len(panels))] {
			tallest = max(tallest, panel(drawn, run, s, j*panelWidth, height))
		}
		height += tallest
	}
	height += 12
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="12" fill="#1e293b">
<title>Throughput of Leveret, of the raw driver and of other libraries</title>
<rect width="100%%" height="100%%" fill="#ffffff"/>
<defs><pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#e2e8f0"/><rect width="3" height="6" fill="#94a3b8"/></pattern></defs>
<text x="16" y="26" font-size="17" font-weight="600">Throughput, each at its strongest guarantee (more is better)</text>
<text x="16" y="46" fill="#475569">%s</text>
%s</svg>
`, chartWidth, height, chartWidth, height, escape(fmt.Sprintf("Median of %d rounds; line: smallest to largest; hatched: was found to lose messages in this way. RabbitMQ %s on the same machine, %d cores, %s",
		run.Rounds, run.Broker, run.Machine.Cores, run.Began.UTC().Format("2006-01-02"))), drawn.String())
	return err
}

// panel draws one scenario and returns its height.
func panel(b *strings.Builder, run *results.Run, s runner.Scenario, x, y int) int {
	var names []string
	most := 0.0
	for _, p := range run.Peers {
		if v := over(run, s.Name, p.Name, rate); known(v.Median) {
			names = append(names, p.Name)
			most = max(most, v.Max)
		}
	}
	names = byRate(run, s.Name, names)
	step := niceStep(most / 4)
	top := step * float64(int(most/step)+1)
	scale := func(v float64) float64 { return v / top * barSpace }
	left := x + 16 + nameWidth
	bottom := y + panelHead + len(names)*barStep
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="13" font-weight="600">%s</text>`+"\n", x+16, y+22, escape(s.Title))
	for v := 0.0; v <= top+step/2; v += step {
		at := float64(left) + scale(v)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#e2e8f0"/><text x="%.1f" y="%d" text-anchor="middle" fill="#64748b" font-size="10">%s</text>`+"\n",
			at, y+panelHead-6, at, bottom, at, bottom+13, thousands(v))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#64748b" font-size="10">messages per second</text>`+"\n", float64(left)+barSpace/2, bottom+27)
	for i, name := range names {
		v := over(run, s.Name, name, rate)
		colour, ok := colours[name]
		if !ok {
			colour = "#94a3b8"
		}
		if strings.Contains(page{run: run}.loses(s, name), "yes") {
			colour = "url(#hatched)"
		}
		weight := "400"
		if name == peers.Leveret {
			weight = "700"
		}
		row := y + panelHead + i*barStep
		middle := row + barHeight/2
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" font-weight="%s">%s</text>`, left-6, middle+4, weight, escape(name))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, left, row, max(scale(v.Median), 0.5), barHeight, colour)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#0f172a"/>`, float64(left)+scale(v.Min), middle, float64(left)+scale(v.Max), middle)
		label := fmt.Sprintf("%.0f", v.Median)
		if r := ratio(run, s.Name, name, peers.Raw, rate); known(r.Median) && name != peers.Raw {
			label += " · " + times(r.Median) + " of raw"
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%d" font-weight="%s" font-size="11">%s</text>`+"\n", float64(left)+scale(v.Max)+5, middle+4, weight, label)
	}
	return panelHead + len(names)*barStep + panelFoot
}

// niceStep is the next 1, 2 or 5 times a power of ten.
func niceStep(v float64) float64 {
	step := 1.0
	for {
		for _, m := range []float64{1, 2, 5} {
			if step*m >= v {
				return step * m
			}
		}
		step *= 10
	}
}

func thousands(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%gk", v/1000)
	}
	return fmt.Sprintf("%g", v)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
