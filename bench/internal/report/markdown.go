package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/bench/internal/faults"
	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/results"
	"github.com/leveretmq/leveret/bench/internal/runner"
)

// page writes Markdown.
type page struct {
	io.Writer
	run *results.Run
}

func (p page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// row writes a row of a table.
func (p page) row(cells ...string) { p.line("| %s |", strings.Join(cells, " | ")) }

func (p page) head(cells ...string) {
	p.row(cells...)
	p.line("|%s", strings.Repeat(" --- |", len(cells)))
}

// Markdown writes the whole page. The chart is named relative to it.
func Markdown(w io.Writer, run *results.Run, chart string) {
	p := page{w, run}
	p.line("# Benchmarks\n")
	p.line("<!-- Written by `bench`; run it again instead of editing. -->\n")
	p.about()
	if chart != "" {
		p.line("![Throughput of Leveret and of what it is compared with](%s)\n", filepath.ToSlash(chart))
	}
	p.targets()
	p.against()
	p.faults()
	for _, s := range measured(run) {
		p.scenario(s)
	}
	p.grows()
	p.hot()
	p.who()
	p.how()
}

func (p page) about() {
	r := p.run
	m := r.Machine
	p.line("Measured on %s, in %s, with this command, in `bench/`:\n", r.Began.UTC().Format("2006-01-02 15:04 MST"), r.Took.Round(time.Second))
	p.line("```console\n$ %s\n```\n", r.Command)
	p.line("| | |\n| --- | --- |")
	p.row("machine", fmt.Sprintf("%s, %d cores, %.0f GiB; %s", m.CPU, m.Cores, float64(m.Memory)/(1<<30), m.System))
	p.row("broker", "RabbitMQ "+r.Broker+", one node on the same machine, quorum queues, persistent messages (except requests and replies, which are useless after their deadline)")
	p.row("Leveret", "commit "+r.Commit)
	p.row("Go", m.Go)
	p.row("driver", peers.Driver+" "+r.Driver+", the same for all")
	p.row("rounds", fmt.Sprint(r.Rounds))
	p.line("")
	p.line("Each number is the median of %d rounds, with the smallest and the largest in brackets. A round measures every scenario once with", r.Rounds)
	p.line("every peer, in random order. Each measurement has its own process and its own virtual host, and begins after a first message and")
	p.line("a warm-up. The column \"measured s\" shows its length; if a peer is slow, it lasts until every goroutine has done its work twice, or")
	p.line("for 10 s. p50 and p99 are computed from the waiting times of all rounds together; p99 is omitted if there are fewer than")
	p.line("%d. A ratio, also of waiting times, is the median of the rounds' ratios. CPU, allocations and memory are those of the client's", leastForP99)
	p.line("process only; CPU is user and system time. The broker runs on the same machine, so it gets what a client saves. All peers are")
	p.line("linked into one binary, which takes about 20 MiB before it does anything. Peers do not log while they are measured.\n")
	p.line("The payload is a Go value of 256 bytes or 16 KiB, which every peer encodes and decodes as JSON, or, over gRPC, as a protobuf message. Publishes in flight: %d", r.Window)
	p.line("at most; prefetch: %d, or four per handler if that is more.\n", r.Prefetch)
	if missing := p.missing(); len(missing) > 0 {
		p.line("**Not measured in this run**, which was narrowed: %s.\n", strings.Join(missing, ", "))
	}
}

// missing names the parts of a full run that this run lacks.
func (p page) missing() []string {
	var names []string
	for _, s := range runner.Scenarios() {
		if !slices.Contains(p.run.Scenarios, s.Name) {
			names = append(names, s.Name)
		}
	}
	if len(p.run.Faults) == 0 {
		names = append(names, "faults")
	}
	if len(p.run.Growth) == 0 {
		names = append(names, "growth")
	}
	if len(p.run.Hot) == 0 {
		names = append(names, "profiles")
	}
	return names
}

func (p page) targets() {
	all := Targets(p.run)
	if len(all) == 0 {
		return
	}
	p.line("## Targets, Leveret to the raw driver, net/http and grpc-go at the same guarantees\n")
	p.line("%s\n", rule)
	p.head("scenario", "what", "of", "to", "target", "ratio", "95 %", "")
	verdicts := tally{}
	for _, t := range all {
		verdicts[t.Verdict()]++
		p.row(t.Title, t.What, t.Of, t.To, t.target(), "**"+times(t.Got.Median)+"**", t.Got.within(), string(t.Verdict()))
	}
	p.line("\n%s.", verdicts)
	if verdicts[None] > 0 {
		p.line("Rows without a target show the cost of OpenTelemetry's SDK.")
	}
	if verdicts[Missed]+verdicts[Undecided] > 0 {
		p.line("For what was tried for the others, see [decision 0012](decisions/0012-what-was-tried-for-speed.md).")
	}
	p.line("")
}

// rule explains the verdicts.
const rule = "A target is reached or missed if the 95 % confidence interval of the median, computed from the order of the rounds' ratios, lies " +
	"entirely on one side of it. Otherwise it is undecided, as it always is with fewer than six rounds."

// A tally counts verdicts.
type tally map[Verdict]int

func (t tally) String() string {
	return fmt.Sprintf("%d of %d reached, %d undecided, %d missed", t[Reached], t[Reached]+t[Undecided]+t[Missed], t[Undecided], t[Missed])
}

func (p page) against() {
	all := AgainstPeers(p.run)
	if len(all) == 0 {
		return
	}
	p.line("## Leveret to other libraries, each at its strongest guarantee\n")
	p.line("The ratio of the rates or, at a fixed rate, of the waiting times (p50 and p99), where less is better. The target is to be ahead in")
	p.line("every row, and twice as fast in publishing that waits and in requests. `–`: not offered; `✗`: failed, see its table; `∞`: the other")
	p.line("did nothing; **bold**: missed; `?`: undecided, by the same rule as above.\n")
	var others []string
	for _, o := range p.run.Peers {
		if peers.IsOther(o.Name) {
			others = append(others, o.Name)
		}
	}
	p.head(append([]string{"scenario"}, others...)...)
	verdicts := tally{}
	for _, s := range measured(p.run) {
		if s.Transport != peers.RabbitMQ {
			continue
		}
		compared := []string{"rate"}
		if s.Kind == measure.Latency {
			compared = []string{"p50", "p99"}
		}
		for _, what := range compared {
			title := s.Title
			if what != "rate" {
				title += ", " + what
			}
			cells := []string{title}
			for _, o := range others {
				i := slices.IndexFunc(all, func(t Target) bool { return t.Scenario == s.Name && t.To == o && t.What == what })
				switch {
				case i >= 0:
					verdicts[all[i].Verdict()]++
					cells = append(cells, all[i].cell())
				case p.run.Failure(s.Name, o) != "":
					cells = append(cells, "✗")
				default:
					cells = append(cells, "–")
				}
			}
			p.row(cells...)
		}
	}
	p.line("\n%s.\n", verdicts)
}

// cell is a ratio and its verdict in short.
func (t Target) cell() string {
	ratio := times(t.Got.Median)
	switch t.Verdict() {
	case Missed:
		return "**" + ratio + "**"
	case Undecided:
		return ratio + " ?"
	default:
		return ratio
	}
}

// scenario writes one table.
func (p page) scenario(s runner.Scenario) {
	p.line("## %s\n", s.Title)
	p.line("`%s`", s.Name)
	if s.Waits != "" {
		p.line("· p50 and p99 are of the time until %s.", s.Waits)
	}
	p.line("")
	head := []string{"peer", "messages/s", "to raw, by round", "p50 ms", "p99 ms", "CPU µs"}
	if s.Kind == measure.Call {
		head = append(head, "server CPU µs")
	}
	head = append(head, "allocations", "bytes", "peak MiB", "measured s", "can it lose?")
	p.head(head...)
	all := rounds(p.run, s.Name)
	var names []string
	for _, peer := range p.run.Peers {
		if found, ok := peers.Find(peer.Name); !ok || found.Transport == s.Transport {
			names = append(names, peer.Name)
		}
	}
	var absent []string
	for _, name := range byRate(p.run, s.Name, names) {
		if p.run.Of(s.Name, name) == nil {
			if variants[name] == "" || name == peers.RawBatched && s.Kind == measure.Consume && s.Work == 0 {
				absent = append(absent, name)
			}
			continue
		}
		number := func(q quantity, scale float64, format string) string {
			return positive(over(p.run, s.Name, name, q).Median*scale, format)
		}
		r := over(p.run, s.Name, name, rate)
		shown := name
		if name == s.Transport.Leveret() {
			shown = "**" + name + "**"
		}
		speed := fmt.Sprintf("%.0f (%.0f–%.0f)", r.Median, r.Min, r.Max)
		if n := len(p.run.Of(s.Name, name)); n < all {
			speed += fmt.Sprintf(", %d of %d rounds", n, all)
		}
		middle, high := waits(p.run, s.Name, name)
		cells := []string{shown, speed, p.toRaw(s, name), positive(middle*1e3, "%.2f"), positive(high*1e3, "%.2f"), number(cpu, 1e6, "%.1f")}
		if s.Kind == measure.Call {
			cells = append(cells, number(serverCPU, 1e6, "%.1f"))
		}
		p.row(append(cells, number(allocs, 1, "%.0f"), number(heap, 1, "%.0f"), number(rss, 1.0/(1<<20), "%.0f"), number(length, 1, "%.2f"), p.loses(s, name))...)
	}
	for _, name := range absent {
		why := "not offered"
		if failure := p.run.Failure(s.Name, name); failure != "" {
			why = "failed: " + oneLine(failure)
		}
		cells := make([]string, len(head))
		cells[0], cells[1], cells[len(head)-1] = name, why, p.loses(s, name)
		p.row(cells...)
	}
	p.line("")
}

func (p page) toRaw(scenario runner.Scenario, name string) string {
	raw := scenario.Transport.Raw()
	if name == raw {
		return "1"
	}
	if v := ratio(p.run, scenario.Name, name, raw, rate); known(v.Median) {
		return fmt.Sprintf("%s (%s)", times(v.Median), v.between())
	}
	return "–"
}

// variants are peers with which nothing was tried where they are the same as another.
var variants = map[string]string{peers.RawBatched: peers.Raw, peers.Telemetry: peers.Leveret}

// loses summarises the experiments that use a peer as the scenario does.
func (p page) loses(s runner.Scenario, name string) string {
	if words := p.found(s, name); words != "" {
		return words
	}
	if same, ok := variants[name]; ok {
		if words := p.found(s, same); words != "" {
			return fmt.Sprintf("%s (as %s, not tried)", words, same)
		}
	}
	return "not tried"
}

// tells returns the experiments that use a peer as the scenario does. There are none for retries and requests.
func (p page) tells(s runner.Scenario, name string) []faults.Experiment {
	switch s.Kind {
	case measure.Publish:
		return []faults.Experiment{faults.UnroutablePipelined, faults.BrokerPipelined}
	case measure.Waiters:
		return []faults.Experiment{faults.Unroutable, faults.Broker}
	case measure.Consume:
		if _, ok := p.run.Finding(name, faults.WorkerInBatches); ok {
			return []faults.Experiment{faults.WorkerInBatches}
		}
		return []faults.Experiment{faults.Worker}
	case measure.Latency:
		return []faults.Experiment{faults.Unroutable, faults.Broker, faults.Worker}
	default:
		return nil
	}
}

// found returns the outcome of the experiments that are relevant for a scenario with a peer, or "" if there were none.
func (p page) found(s runner.Scenario, name string) string {
	tried := false
	var lost, hangs, stops []string
	for _, e := range p.tells(s, name) {
		f, ok := p.run.Finding(name, e)
		if !ok || !f.Offered || f.Err != "" {
			continue
		}
		tried = true
		if f.Lost > 0 {
			lost = append(lost, fmt.Sprintf("%s (%d of %d)", e, f.Lost, f.Reported))
		}
		switch {
		case f.Hung:
			hangs = append(hangs, string(e))
		case !f.Recovered && !ofUnroutable(e):
			stops = append(stops, string(e))
		}
	}
	var words []string
	say := func(word string, in []string) {
		if len(in) > 0 {
			words = append(words, "**"+word+"**: "+strings.Join(in, ", "))
		}
	}
	say("yes", lost)
	say("hangs", hangs)
	say("stops", stops)
	if tried && len(words) == 0 {
		return "no"
	}
	return strings.Join(words, "; ")
}

// ofUnroutable reports whether an experiment is about unroutable messages, after which there is nothing to recover
// from.
func ofUnroutable(e faults.Experiment) bool {
	return e == faults.Unroutable || e == faults.UnroutablePipelined
}

func (p page) faults() {
	if len(p.run.Faults) == 0 {
		return
	}
	p.line("## Can it lose?\n")
	p.line("Observed, not claimed. **unroutable**: 200 messages are sent after their queue was deleted; lost are those reported as sent.")
	p.line("**broker**: the broker is killed with SIGKILL while 32 goroutines publish, and restarted; lost are the messages reported as sent")
	p.line("whose ids are not in the queue afterwards. Both are repeated with pipelined confirms from one goroutine. Then messages count as")
	p.line("reported when they were flushed without an error; unroutable ones are flushed one by one, the easiest case for libraries that")
	p.line("receive returns separately from confirms. **worker**: a process that handles 3000 messages is killed with SIGKILL in the middle,")
	p.line("and another takes over; lost are the messages that were never handled completely, by their ids in a file. For libraries that")
	p.line("consume a backlog in batches, this is repeated with a batch of the whole prefetch. The table shows the number of trials and the")
	p.line("worst outcome. A message sent or handled twice is not lost: every peer here delivers at least once.\n")
	p.line("The table of each scenario shows the outcome for the way in which it uses a library: publishing with pipelined confirms,")
	p.line("publishing that waits, consuming, or the latter two end to end. Retries and requests were not tried. \"Hangs\" means that a call")
	p.line("did not return, \"stops\" that the peer did not continue by itself.\n")
	p.head("peer", "experiment", "trials", "lost of reported", "twice", "continued by itself", "what was observed")
	for _, f := range p.run.Faults {
		experiment := string(f.Experiment)
		switch {
		case !f.Offered:
			p.row(f.Peer, experiment, "", "not offered", "", "", "")
			continue
		case f.Err != "":
			p.row(f.Peer, experiment, fmt.Sprint(f.Trials), "not determined", "", "", oneLine(f.Err))
			continue
		}
		lost := fmt.Sprintf("%d of %d", f.Lost, f.Reported)
		if f.Lost > 0 {
			lost = "**" + lost + "**"
		}
		on := "–"
		switch {
		case f.Hung:
			on = "no: a call never returned"
		case ofUnroutable(f.Experiment):
		case f.Recovered:
			on = fmt.Sprintf("yes, %.1f s after the broker was back", f.After)
			if f.Experiment == faults.Worker || f.Experiment == faults.WorkerInBatches {
				on = "yes"
			}
		default:
			on = "no"
		}
		p.row(f.Peer, experiment, fmt.Sprint(f.Trials), lost, fmt.Sprint(f.Twice), on, oneLine(f.Note))
	}
	p.line("")
}

// tookPart reports whether a peer was measured at all.
func (p page) tookPart(peer string) bool {
	return slices.ContainsFunc(p.run.Samples, func(s runner.Sample) bool { return s.Peer == peer }) ||
		slices.ContainsFunc(p.run.Faults, func(f faults.Finding) bool { return f.Peer == peer })
}

func (p page) who() {
	p.line("## The peers\n")
	p.head("peer", "modules", "at its strongest")
	for _, peer := range p.run.Peers {
		if !p.tookPart(peer.Name) {
			continue
		}
		about := peer.About
		if peer.RetryAbout != "" {
			about += " Retry: " + peer.RetryAbout
		}
		p.row(peer.Name, peer.Modules, about)
	}
	p.line("")
}

func (p page) hot() {
	if len(p.run.Hot) == 0 {
		return
	}
	p.line("## Where Leveret's time goes\n")
	p.line("From a CPU profile of one additional measurement each: the three functions and packages in which most time was spent.\n")
	p.head("scenario", "hottest functions", "hottest packages")
	for _, h := range p.run.Hot {
		p.row(h.Scenario, places(h.Places), places(h.Packages))
	}
	p.line("")
}

func places(all []runner.Place) string {
	var cells []string
	for _, place := range all {
		cells = append(cells, fmt.Sprintf("%.0f %% `%s`", place.Percent, strings.ReplaceAll(place.Name, "github.com/leveretmq/leveret/", "")))
	}
	return strings.Join(cells, "<br>")
}

func (p page) how() {
	p.line("## Run it yourself\n")
	p.line("```console\n$ make bench                  # everything, about an hour\n$ cd bench && go run . --short # a minute: prints the ratios, writes nothing\n$ cd bench && go run . --only publish,call-* --peers raw,leveret --rounds 5 --budget 5m\n$ cd bench && go test -run - -bench . ./...   # single functions\n```\n")
	p.line("It starts a private RabbitMQ node (see pkg/devbroker; `LEVERET_RABBITMQ_BIN` selects another) and needs nothing else.")
	p.line("Machines are noisy: trust ratios rather than rates, and compare only within one run.")
}

// grows leads to how it grows.
func (p page) grows() {
	if len(p.run.Growth) > 0 {
		p.line("## How it grows\n\nHow frames, goroutines, memory and time grow with contracts, queues, workers, callers, dead letters, backlog and the size of")
		p.line("messages stands in [scale.md](scale.md#how-it-grows).\n")
	}
}

// oneLine makes text fit into a cell.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, "|", "/")), " ")
	if runes := []rune(text); len(runes) > 160 {
		text = string(runes[:160]) + "…"
	}
	return cmp.Or(text, "–")
}

// positive writes a number that is more than nothing.
func positive(v float64, format string) string {
	if known(v) && v > 0 {
		return fmt.Sprintf(format, v)
	}
	return "–"
}

func seconds(v float64) string {
	if v == 0 || math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.2f", v)
}
