package report

import (
	"fmt"
	"strings"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/results"
	"github.com/leveretmq/leveret/bench/internal/runner"
)

// A Target is a ratio of Leveret to another, and what it should be.
type Target struct {
	Scenario, Title string
	// What is compared: "rate", "p50", "p99", "client CPU".
	What string
	// Of is compared to To.
	Of, To string
	// Want is the least for a rate, and the most for the others.
	Want float64
	Got  spread
	// Most reports whether Want is an upper limit.
	Most bool
	// Informs marks a ratio without a target. It is shown for information, and Want is ignored.
	Informs bool
}

// A Verdict is whether a target was reached.
type Verdict string

// The verdicts.
const (
	Reached   Verdict = "reached"
	Missed    Verdict = "missed"
	Undecided Verdict = "undecided"
	None      Verdict = "–" // there is no target
)

// Verdict returns Undecided if the interval of the median contains the target.
func (t Target) Verdict() Verdict {
	worst, best := t.Got.Low, t.Got.High
	keeps := func(v float64) bool { return v >= t.Want }
	if t.Most {
		worst, best = best, worst
		keeps = func(v float64) bool { return v <= t.Want }
	}
	switch {
	case t.Informs:
		return None
	case keeps(worst):
		return Reached
	case keeps(best):
		return Undecided
	default:
		return Missed
	}
}

// mostCPU is how much more CPU time a message may take in the client.
const mostCPU = 1.25

// Targets returns those against the transport by hand, of all scenarios that were measured, and what telemetry takes.
func Targets(run *results.Run) []Target {
	var all []Target
	for _, s := range measured(run) {
		of := s.Transport.Leveret()
		least := func(what, to string, want float64, q quantity) {
			all = append(all, Target{
				Scenario: s.Name, Title: s.Title, What: what, Of: of, To: to, Want: want, Got: ratio(run, s.Name, of, to, q),
			})
		}
		most := func(what, to string, want float64, q quantity) {
			all = append(all, Target{
				Scenario: s.Name, Title: s.Title, What: what, Of: of, To: to, Want: want, Got: ratio(run, s.Name, of, to, q), Most: true,
			})
		}
		informs := func(what string, q quantity) {
			all = append(all, Target{
				Scenario: s.Name, Title: s.Title, What: what, Of: peers.Telemetry, To: peers.Raw, Got: ratio(run, s.Name, peers.Telemetry, peers.Raw, q), Informs: true,
			})
		}
		switch {
		case s.Kind == measure.Publish:
			least("rate", peers.Raw, 0.95, rate)
		case s.Kind == measure.Waiters:
			least("rate", peers.Raw, 1.00, rate)
		case s.Kind == measure.Consume && s.Work == 0:
			least("rate", peers.Raw, 1.30, rate)
			least("rate", peers.RawBatched, 0.95, rate)
			most("client CPU", peers.RawBatched, mostCPU, cpu)
		case s.Kind == measure.Consume:
		case s.Transport != peers.RabbitMQ:
			raw := s.Transport.Raw()
			most("p50", raw, 1.15, p50)
			least("rate", raw, 0.90, rate)
			most("client CPU", raw, mostCPU, cpu)
			continue
		case s.Kind == measure.Call:
			most("p50", peers.Raw, 1.10, p50)
			least("rate", peers.Raw, 0.95, rate)
		default:
			continue
		}
		most("client CPU", peers.Raw, mostCPU, cpu)
		informs("rate", rate)
		informs("client CPU", cpu)
	}
	var found []Target
	for _, t := range all {
		if known(t.Got.Median) {
			found = append(found, t)
		}
	}
	return found
}

// AgainstPeers returns, for each scenario and other library, what Leveret's rate should be to its own: more, and twice
// as much for waiters and requests. At a fixed rate it is the waiting time that should be less, its middle and its 99th
// percentile.
func AgainstPeers(run *results.Run) []Target {
	var found []Target
	for _, s := range measured(run) {
		want := 1.0
		if s.Kind == measure.Waiters || s.Kind == measure.Call {
			want = 2
		}
		for _, p := range run.Peers {
			if !peers.IsOther(p.Name) {
				continue
			}
			compare := func(what string, q quantity, most bool) {
				t := Target{
					Scenario: s.Name, Title: s.Title, What: what, Of: peers.Leveret, To: p.Name, Want: want, Most: most,
					Got: ratio(run, s.Name, peers.Leveret, p.Name, q),
				}
				if known(t.Got.Median) {
					found = append(found, t)
				}
			}
			if s.Kind == measure.Latency {
				compare("p50", p50, true)
				compare("p99", p99, true)
			} else {
				compare("rate", rate, false)
			}
		}
	}
	return found
}

// measured are the scenarios of the run.
func measured(run *results.Run) []runner.Scenario {
	var found []runner.Scenario
	for _, s := range runner.Scenarios() {
		for _, name := range run.Scenarios {
			if s.Name == name {
				found = append(found, s)
			}
		}
	}
	return found
}

// Ratios writes the result of the short form, one line per target.
func Ratios(run *results.Run) string {
	var b strings.Builder
	for _, t := range append(Targets(run), AgainstPeers(run)...) {
		fmt.Fprintf(&b, "%-16s %-10s %-26s %5s  (%s)  %-13s  %s\n",
			t.Scenario, t.What, t.Of+" / "+t.To, times(t.Got.Median), t.Got.between(), t.target(), t.Verdict())
	}
	return b.String()
}

func (t Target) target() string {
	switch {
	case t.Informs:
		return "no target"
	case t.Most:
		return fmt.Sprintf("≤ %.2f", t.Want)
	default:
		return fmt.Sprintf("≥ %.2f", t.Want)
	}
}
