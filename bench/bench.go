package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/bench/internal/faults"
	"github.com/leveretmq/leveret/bench/internal/growth"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/report"
	"github.com/leveretmq/leveret/bench/internal/results"
	"github.com/leveretmq/leveret/bench/internal/runner"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

const usage = `Measures Leveret against the raw driver and against other libraries, at equal guarantees, on one RabbitMQ node that it
starts. A full run writes the page, the chart and what was found. One that is narrowed, by --only, --peers, --short or
fewer rounds, prints instead, and writes only the files that are named by their flags.

	go run . [flags]
	go run . -only growth -scale ../docs/scale.md   # how everything grows, in a quarter of an hour; with -short in a minute

`

// options are the values of the flags.
type options struct {
	short            bool
	rounds, trials   int
	only, peers      string
	out, chart, keep string
	scale            string
	from, profiles   string
	budget           time.Duration
	list             bool
}

// fullRounds is the number of rounds in a run whose results can be published.
const fullRounds = 10

// The parts of a run besides scenarios, as named by --only.
var parts = []string{"faults", "growth", "profiles"}

func bench(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.BoolVar(&o.short, "short", false, "a few scenarios with only the raw driver and Leveret, in about a minute; prints the ratios and fails only on errors")
	flags.IntVar(&o.rounds, "rounds", fullRounds, "how often to measure everything")
	flags.IntVar(&o.trials, "trials", 2, "how often to try each fault (unroutable messages at least five times); the worst outcome is shown")
	flags.StringVar(&o.only, "only", "", "comma-separated names of scenarios, such as call-*, or faults, growth, growth/callers, profiles; default: all")
	flags.StringVar(&o.peers, "peers", "", "comma-separated peers; default: all")
	flags.StringVar(&o.out, "out", "../docs/benchmarks.md", "the page to write")
	flags.StringVar(&o.chart, "chart", "../docs/benchmarks.svg", "the chart to write")
	flags.StringVar(&o.scale, "scale", "../docs/scale.md", "the page that has the tables of growth, which are replaced")
	flags.StringVar(&o.keep, "results", "results.json", "the file for the results as JSON, written after each round")
	flags.StringVar(&o.from, "from", "", "do not measure, but write page and chart from this JSON file")
	flags.StringVar(&o.profiles, "profile", "profiles", "folder for pprof profiles of Leveret")
	flags.DurationVar(&o.budget, "budget", time.Hour, "approximate time for everything; scales the measurements, down to "+shortest.String()+", but not the number of rounds")
	flags.BoolVar(&o.list, "list", false, "print the scenarios and the peers, and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; see --help", flags.Arg(0))
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	p, err := newPlan(o, given)
	if err != nil {
		return err
	}
	switch {
	case o.list:
		p.list(os.Stdout)
		return nil
	case o.from != "":
		run, err := results.Load(o.from)
		if err != nil {
			return err
		}
		return p.write(run)
	}
	if err := p.check(); err != nil {
		return err
	}
	run, err := p.measure(ctx, command(args))
	if err != nil {
		return err
	}
	if err := p.write(run); err != nil {
		return err
	}
	return failures(run)
}

// plan describes what a run does.
type plan struct {
	options
	scenarios []runner.Scenario
	peers     []peers.Peer
	parts     []string
	series    []string // of growth; nil: all
}

func newPlan(o options, given map[string]bool) (*plan, error) {
	p := &plan{options: o, scenarios: runner.Scenarios(), peers: peers.All(), parts: parts}
	switch {
	case o.rounds < 1 || o.trials < 1:
		return nil, errors.New("--rounds and --trials must be 1 or more")
	case o.budget <= 0:
		return nil, errors.New("--budget must be positive")
	}
	if o.short || o.only != "" || o.peers != "" || o.rounds < fullRounds {
		p.keepNamed(given)
	}
	if o.short {
		p.narrow(given)
	}
	if names := split(o.only); len(names) > 0 {
		names, err := p.takeSeries(names)
		if err != nil {
			return nil, err
		}
		p.parts = slices.DeleteFunc(slices.Clone(parts), func(part string) bool { return !slices.Contains(names, part) })
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(parts, name) })
		p.scenarios = nil
		if len(names) > 0 {
			if p.scenarios, err = runner.Choose(runner.Scenarios(), names); err != nil {
				return nil, err
			}
		}
	}
	if names := split(o.peers); len(names) > 0 {
		p.peers = nil
		for _, name := range names {
			peer, ok := peers.Find(name)
			if !ok {
				return nil, fmt.Errorf("there is no peer %q; see --list", name)
			}
			p.peers = append(p.peers, peer)
		}
	}
	return p, nil
}

// takeSeries takes the series of growth from names, such as growth/callers, and leaves growth.
func (p *plan) takeSeries(names []string) (left []string, err error) {
	for _, name := range names {
		series, ok := strings.CutPrefix(name, "growth/")
		if !ok {
			left = append(left, name)
			continue
		}
		if !slices.Contains(growth.Names(), series) {
			return nil, fmt.Errorf("there is no %q; growth is that of %s", name, strings.Join(growth.Names(), ", "))
		}
		p.series = append(p.series, series)
		left = append(left, "growth")
	}
	return left, nil
}

// narrow reduces the plan to what can be done in a minute.
func (p *plan) narrow(given map[string]bool) {
	p.scenarios = slices.DeleteFunc(p.scenarios, func(s runner.Scenario) bool { return !s.Short })
	p.peers = slices.DeleteFunc(p.peers, func(peer peers.Peer) bool {
		return peers.IsOther(peer.Name) || peer.Name == peers.Telemetry
	})
	p.parts = nil // unless --only names one
	if !given["rounds"] {
		p.rounds = 3
	}
	if !given["budget"] {
		p.budget = 35 * time.Second
	}
}

// keepNamed prevents a narrowed run from overwriting the published results of a full run.
func (p *plan) keepNamed(given map[string]bool) {
	for flag, path := range map[string]*string{"out": &p.out, "chart": &p.chart, "scale": &p.scale, "results": &p.keep} {
		if !given[flag] {
			*path = ""
		}
	}
}

// check checks before measuring that the results can be written.
func (p *plan) check() error {
	for _, path := range []string{p.out, p.chart, p.keep} {
		if path == "" {
			continue
		}
		_, missing := os.Stat(path)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
		if missing != nil { // an aborted run must not leave an empty file
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	if p.scale != "" && p.has("growth") {
		page, err := os.ReadFile(p.scale)
		if err != nil {
			return err
		}
		if _, err := report.ReplaceGrowth(page, &results.Run{}); err != nil {
			return fmt.Errorf("%s: %w", p.scale, err)
		}
	}
	_, err := p.chartFromPage()
	return err
}

// chartFromPage returns the chart's path relative to the page. It is empty if either is not written.
func (p *plan) chartFromPage() (string, error) {
	if p.out == "" || p.chart == "" {
		return "", nil
	}
	page, err := filepath.Abs(p.out)
	if err != nil {
		return "", err
	}
	chart, err := filepath.Abs(p.chart)
	if err != nil {
		return "", err
	}
	return filepath.Rel(filepath.Dir(page), chart)
}

func (p *plan) list(w io.Writer) {
	fmt.Fprintln(w, "Scenarios:")
	for _, s := range p.scenarios {
		fmt.Fprintf(w, "  %-16s %s\n", s.Name, s.Title)
	}
	fmt.Fprintf(w, "Beside them: %s\nGrowth: with %s\n\nPeers:\n", strings.Join(parts, ", "), strings.Join(growth.Names(), ", "))
	for _, peer := range p.peers {
		fmt.Fprintf(w, "  %-16s %s\n", peer.Name, peer.Modules())
	}
}

func (p *plan) has(part string) bool { return slices.Contains(p.parts, part) }

// measure carries out the plan on one node, except for the faults, which have a separate node.
func (p *plan) measure(ctx context.Context, command string) (*results.Run, error) {
	if least := p.atLeast(); least > p.budget {
		fmt.Fprintf(os.Stderr, "This will take about %v, more than the budget of %v, because no measurement is shorter than %v.\n",
			least.Round(time.Second), p.budget, p.ofRounds().Shortest)
	}
	began := time.Now()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true, Output: os.Stderr})
	if err != nil {
		return nil, err
	}
	closing := context.WithoutCancel(ctx)
	defer func() { _ = node.Close(closing) }()
	run := &results.Run{
		Began: began, Command: command, Machine: results.ThisMachine(ctx), Commit: results.Commit(ctx), Peers: results.PeersOf(p.peers), Rounds: p.rounds,
		Driver: peers.DriverVersion(), Window: runner.Window, Prefetch: runner.Prefetch,
		Broker: fmt.Sprintf("%s (%s)", node.Version(), node.Source().Kind),
	}
	for _, s := range p.scenarios {
		run.Scenarios = append(run.Scenarios, s.Name)
	}
	save := func() error {
		run.Took = time.Since(began)
		if p.keep == "" {
			return nil
		}
		return run.Save(p.keep)
	}
	steps := []struct {
		wanted bool
		what   string
		do     func() error
	}{
		{len(p.scenarios) > 0, "rounds", func() (err error) {
			config := p.ofRounds()
			config.Progress, config.Save = os.Stderr, func(samples []runner.Sample) error {
				run.Samples = samples
				return save()
			}
			run.Samples, err = runner.Run(ctx, node, config)
			return err
		}},
		{p.has("profiles"), "profiles", func() (err error) {
			run.Hot, err = p.profile(ctx, node)
			return err
		}},
		{p.has("faults"), "faults", func() (err error) {
			run.Faults, err = p.tryFaults(ctx)
			return err
		}},
		{p.has("growth"), "growth", func() (err error) {
			run.Growth, err = growth.Run(ctx, node, growth.Config{Budget: p.budgetOfGrowth(), Short: p.short, Only: p.series, Progress: os.Stderr})
			return err
		}},
	}
	for _, step := range steps {
		if !step.wanted {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s, after %v\n", step.what, time.Since(began).Round(time.Second))
		if err := errors.Join(step.do(), save()); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return run, nil
}

// Faults take a fixed time. Growth gets a fifth of the remaining budget, and the rounds get the rest.
func (p *plan) budgetOfFaults() time.Duration {
	if !p.has("faults") {
		return 0
	}
	var all time.Duration
	for _, peer := range p.peers {
		all += faults.Takes(peer, p.trials)
	}
	return all
}

func (p *plan) budgetOfProfiles() time.Duration {
	if !p.has("profiles") {
		return 0
	}
	return time.Minute
}

func (p *plan) budgetOfGrowth() time.Duration {
	if !p.has("growth") {
		return 0
	}
	left := max(p.budget-p.budgetOfFaults(), p.budget/4)
	if len(p.scenarios) == 0 {
		return min(left, mostForGrowth)
	}
	return min(left/5, mostForGrowth)
}

// mostForGrowth is enough for all sizes.
const mostForGrowth = 14 * time.Minute

func (p *plan) budgetOfRounds() time.Duration {
	return max(p.budget-p.budgetBesides(), p.budget/3)
}

// A measurement is as long as the budget allows, within these limits. In less than shortest, a library that takes half
// a second per request would hardly have begun.
const (
	shortest = 750 * time.Millisecond
	longest  = 3 * time.Second
)

// inMinute replaces shortest in the short form, which only looks for errors.
const inMinute = 400 * time.Millisecond

func (p *plan) ofRounds() runner.Config {
	c := runner.Config{
		Scenarios: p.scenarios, Peers: p.peers, Rounds: p.rounds, Budget: p.budgetOfRounds(), Shortest: shortest, Longest: longest,
	}
	if p.short {
		c.Shortest = inMinute
	}
	return c
}

// atLeast returns approximately how long everything takes at least, whatever the budget.
func (p *plan) atLeast() time.Duration {
	return p.budgetBesides() + runner.AtLeast(p.ofRounds())
}

// budgetBesides returns approximately how long everything but the rounds takes.
func (p *plan) budgetBesides() time.Duration {
	return p.budgetOfFaults() + p.budgetOfGrowth() + p.budgetOfProfiles()
}

func (p *plan) profile(ctx context.Context, node *devbroker.Broker) ([]runner.Hot, error) {
	scenarios := slices.DeleteFunc(runner.Scenarios(), func(s runner.Scenario) bool { return !slices.Contains(runner.Profiled(), s.Name) })
	if err := os.MkdirAll(p.profiles, 0o755); err != nil {
		return nil, err
	}
	return runner.Profile(ctx, node, scenarios, p.profiles, 10*time.Second, os.Stderr)
}

func (p *plan) tryFaults(ctx context.Context) (_ []faults.Finding, err error) {
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true, Output: os.Stderr})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Close(context.WithoutCancel(ctx))) }()
	dir, err := os.MkdirTemp("", "leveret-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return faults.Run(ctx, node, faults.Config{Peers: p.peers, Rounds: p.trials, Dir: dir, Progress: os.Stderr})
}

// write builds page and chart and writes those that have a path. Without a path, the page is printed.
func (p *plan) write(run *results.Run) error {
	fmt.Print(report.Ratios(run), report.GrowthText(run))
	if p.scale != "" && len(run.Growth) > 0 {
		if err := report.WriteGrowth(p.scale, run); err != nil {
			return err
		}
		fmt.Println("written:", p.scale)
	}
	if len(run.Samples)+len(run.Faults)+len(run.Hot) == 0 {
		return nil // page and chart would be empty
	}
	relative, err := p.chartFromPage()
	if err != nil {
		return err
	}
	var page, chart bytes.Buffer
	report.Markdown(&page, run, relative)
	if err := report.Chart(&chart, run); err != nil {
		return err
	}
	if p.out == "" && !p.short {
		fmt.Print(page.String())
	}
	for _, file := range []struct {
		path string
		text []byte
	}{{p.chart, chart.Bytes()}, {p.out, page.Bytes()}} {
		if file.path == "" {
			continue
		}
		if err := os.WriteFile(file.path, file.text, 0o644); err != nil {
			return err
		}
		fmt.Println("written:", file.path)
	}
	return nil
}

// failures returns the errors of Leveret and the raw driver. The errors of other libraries are shown on the page.
func failures(run *results.Run) error {
	var errs []error
	for _, s := range run.Samples {
		if s.Err != "" && !peers.IsOther(s.Peer) {
			errs = append(errs, fmt.Errorf("%s, %s, round %d: %s", s.Scenario, s.Peer, s.Round+1, s.Err))
		}
	}
	for _, s := range run.Growth {
		if len(s.Sizes) == 0 {
			errs = append(errs, fmt.Errorf("growth with %s was not measured: %s", s.Name, strings.Join(s.Missing, "; ")))
		}
	}
	for _, f := range run.Faults {
		if f.Peer == peers.Leveret && (f.Err != "" || f.Lost > 0) {
			errs = append(errs, fmt.Errorf("leveret, %s: lost %d of %d %s", f.Experiment, f.Lost, f.Reported, f.Err))
		}
	}
	return errors.Join(errs...)
}

// plain matches words that need no quoting in a shell.
var plain = regexp.MustCompile(`^[\w./,:=+-]+$`)

// command returns the command line in a form that can be typed again.
func command(args []string) string {
	words := []string{"go run ."}
	for _, arg := range args {
		if !plain.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
