package compare

import (
	"fmt"
	"io"
	"math"

	"github.com/leveretmq/leveret/pkg/measure"
)

// Chart draws what was found as SVG: how long a caller waits at the fixed rate and how much is done flat out, with each
// handler beside the other; and what became of the work in each fault.
func (r *Result) Chart(w io.Writer) error {
	c := measure.Chart{
		Title: "What each way of communicating costs, and what becomes of the work when something breaks",
		Subtitle: fmt.Sprintf("%s. %d CPUs, %s/%s, %s",
			r.rounds(), r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Began.UTC().Format("2006-01-02")),
	}
	var speed [][]measure.Panel
	most := 0
	for _, p := range r.Parts {
		panels := p.speedPanels()
		speed, most = append(speed, panels), max(most, len(panels))
	}
	for i := range most {
		for _, panels := range speed {
			if i < len(panels) {
				c.Panels = append(c.Panels, panels[i])
			}
		}
	}
	for _, p := range r.Parts {
		if len(c.Panels)%2 == 1 && len(p.Faults) > 0 {
			c.Panels = append(c.Panels, measure.Panel{})
		}
		c.Panels = append(c.Panels, p.faultPanels()...)
	}
	return c.Write(w)
}

// rounds says of how many rounds the figures are.
func (r *Result) rounds() string {
	n := 0
	for _, p := range r.Parts {
		for _, row := range p.Speed {
			n = max(n, len(row.Samples))
		}
		for _, row := range p.Faults {
			n = max(n, len(row.Trials))
		}
	}
	if n == 1 {
		return "One round, so chance has a part in every figure"
	}
	return fmt.Sprintf("Medians of %d rounds; line: smallest to largest", n)
}

// speedPanels shows the waits at the fixed rate, and the throughput with most in flight.
func (p *Part) speedPanels() []measure.Panel {
	most := 0
	for _, row := range p.Speed {
		most = max(most, row.Load.InFlight)
	}
	var panels []measure.Panel
	add := func(load Load, m Metric, title, unit string, digits int) {
		panel := measure.Panel{Title: fmt.Sprintf("%s, %s (%s)", title, load, p.Handler), Unit: unit}
		for _, row := range p.Speed {
			if row.Load == load {
				panel.Bars = append(panel.Bars, bar(row.Label, *row.Of(m), number(row.Of(m).Median, digits)))
			}
		}
		panels = append(panels, panel)
	}
	for _, row := range p.Speed {
		if row.Load.InFlight == 0 {
			add(row.Load, P50, "Caller's wait, median", "milliseconds", 2)
			add(row.Load, P99, "Caller's wait, 99th percentile", "milliseconds", 2)
			break
		}
	}
	if most > 0 {
		add(Load{InFlight: most}, Throughput, "Done", "per second", 0)
	}
	return panels
}

// faultPanels shows the share that was reported ok in each fault, and the longest wait.
func (p *Part) faultPanels() []measure.Panel {
	var panels []measure.Panel
	for i := 0; i < len(p.Faults); {
		fault := p.Faults[i].Fault
		healed := fmt.Sprintf("per cent; healed after %s s", median(p.Faults[i].lasted(), 1))
		ok := measure.Panel{Title: p.Faults[i].FaultLabel + ": reported ok", Unit: healed, Top: 100}
		longest := measure.Panel{Title: p.Faults[i].FaultLabel + ": longest wait", Unit: "seconds"}
		for ; i < len(p.Faults) && p.Faults[i].Fault == fault; i++ {
			row := p.Faults[i]
			share := 100 * float64(row.Ledger.OK) / float64(max(row.Ledger.Asked, 1))
			b := measure.Bar{Label: row.Label, Value: share, Note: fmt.Sprintf("%.1f %%", share)}
			if row.Ledger.Lost > 0 || row.Ledger.Twice > 0 {
				b.Fill = measure.Hatched
				b.Note += fmt.Sprintf(", %d lost, %d twice", row.Ledger.Lost, row.Ledger.Twice)
			}
			ok.Bars = append(ok.Bars, b)
			longest.Bars = append(longest.Bars, bar(row.Label, row.LongestWait, number(row.LongestWait.Median, 1)))
		}
		panels = append(panels, ok, longest)
	}
	return panels
}

func bar(label string, s measure.Spread, note string) measure.Bar {
	finite := func(v float64) float64 {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0
		}
		return v
	}
	return measure.Bar{
		Label: label, Fill: "#c2410c", Value: finite(s.Median), Min: finite(s.Min), Max: finite(s.Max), Note: note,
	}
}
