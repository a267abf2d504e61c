package shopcli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/shop/internal/comparand"
)

type compareOptions struct {
	rate          float64
	rounds        int
	length        time.Duration
	inFlight      []int
	outage        time.Duration
	short         bool
	only          string
	svg, markdown string
}

// The passes of --only.
const (
	onlySpeed  = "speed"
	onlyFaults = "faults"
)

// Compare returns the command that measures what each way of communicating costs, and what becomes of the work when
// something breaks.
func Compare(app *cli.App) *cobra.Command {
	var o compareOptions
	cmd := &cobra.Command{
		Use:     "compare",
		GroupID: "run",
		Short:   "Measure what HTTP, gRPC, requests, commands and events cost, and what faults do to each",
		Long: `Measure what each way of communicating costs on this machine, and what becomes of the work when something breaks.

Starts a private RabbitMQ (or uses the configured one, in a separate virtual host) and two receivers, each in its own
process. They authorise payments, by the same handler whichever way they are asked: over HTTP/1.1, HTTP/2, gRPC, by
request and reply over RabbitMQ, and by an order as a command or as an event. All connections are plain TCP on the
loopback interface. HTTP and gRPC are balanced over both receivers.

First comes speed: at a fixed rate, with waits measured from when each operation was due, and flat out with some in
flight. Everything is measured with a handler that does nothing, and with the payment service's store; and so are the
bytes over each hop. Then come faults, with the store and 50 ms of work, at a quarter of the rate for each way: both
receivers killed, ten times slower, restarted one after the other, and RabbitMQ killed. HTTP and gRPC meet them without
retries, and with retries under an idempotency key. Every caller gives up after 5 s. Afterwards, a ledger compares what
was reported with what was done.

Each figure is the median of all rounds, with the interval in which the true median lies; a difference within it is
undecided. Fewer than six rounds give no interval. Leave the machine alone meanwhile. A configured RabbitMQ is not
killed, and its CPU time is not known.`,
		Args: cli.Arguments(0, 0),
		Example: fmt.Sprintf("  %[1]s compare\n  %[1]s compare --short\n"+
			"  %[1]s compare --only faults --outage 10s\n"+
			"  %[1]s compare -o json --svg compare.svg --markdown docs/when-to-use-what.md", app.Name),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.short {
				o.shorten(cmd.Flags().Changed)
			}
			return runCompare(cmd.Context(), app, o)
		},
	}
	f := cmd.Flags()
	f.Float64Var(&o.rate, "rate", 200, "operations a second of the fixed rate")
	f.IntVar(&o.rounds, "rounds", 6, "how often everything is measured, in another order each time")
	f.DurationVar(&o.length, "for", time.Second, "how long each load is measured in each round")
	f.IntSliceVar(&o.inFlight, "in-flight", []int{1, 16, 64}, "how many operations are in flight, flat out")
	f.DurationVar(&o.outage, "outage", 5*time.Second,
		"how long the receivers and RabbitMQ are dead, and the receivers slow")
	f.BoolVar(&o.short, "short", false,
		"take a minute: one round, and short loads and outages, except where flags say otherwise")
	f.StringVar(&o.only, "only", "", "make only one of the two parts: speed or faults")
	_ = cmd.RegisterFlagCompletionFunc("only",
		cobra.FixedCompletions([]string{onlySpeed, onlyFaults}, cobra.ShellCompDirectiveNoFileComp))
	f.StringVar(&o.svg, "svg", "", "write a chart to this `file`")
	f.StringVar(&o.markdown, "markdown", "",
		"write the tables to this `file`, or replace those that are there between the markers")
	cmd.AddCommand(compareReceiver())
	return cmd
}

// compareReceiver returns the command that the receivers' processes run.
func compareReceiver() *cobra.Command {
	cmd := comparand.Program().Command()
	cmd.Hidden = true
	cli.NeedsNothing(cmd)
	for _, sub := range cmd.Commands() {
		cli.NeedsNothing(sub)
	}
	var l leash
	l.flags(cmd)
	l.hold(cmd)
	return cmd
}

// shorten sets what no flag sets to short values.
func (o *compareOptions) shorten(set func(flag string) bool) {
	if !set("rounds") {
		o.rounds = 1
	}
	if !set("for") {
		o.length = 300 * time.Millisecond
	}
	if !set("in-flight") {
		o.inFlight = []int{1, 16}
	}
	if !set("outage") {
		o.outage = time.Second
	}
}

// check says what is wrong with the options.
func (o *compareOptions) check() error {
	wrong := func(format string, args ...any) error { return cli.Fail(cli.ExitUsage, "", format, args...) }
	switch {
	case math.IsNaN(o.rate) || o.rate < 1 || o.rate > 100_000:
		return wrong("--rate is %g; it must be between 1 and 100000", o.rate)
	case o.rounds < 1 || o.rounds > 1000:
		return wrong("--rounds is %d; it must be between 1 and 1000", o.rounds)
	case o.length < 100*time.Millisecond:
		return wrong("--for is %v; it must be at least 100ms", o.length)
	case o.outage < 500*time.Millisecond || o.outage > time.Minute:
		return wrong("--outage is %v; it must be between 500ms and 1m", o.outage)
	case o.only != "" && o.only != onlySpeed && o.only != onlyFaults:
		return wrong("--only is %q; it must be speed or faults", o.only)
	}
	for i, n := range o.inFlight {
		if n < 1 || n > 10_000 {
			return wrong("--in-flight has %d; it must be between 1 and 10000", n)
		}
		if slices.Contains(o.inFlight[:i], n) {
			return wrong("--in-flight has %d twice", n)
		}
	}
	return nil
}

func runCompare(ctx context.Context, app *cli.App, o compareOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	outputs, err := openCompareOutputs(o)
	if err != nil {
		return err
	}
	c := &comparison{compareOptions: o, app: app}
	result, err := c.run(ctx)
	if err != nil {
		return err
	}
	if err := outputs.write(result); err != nil {
		return err
	}
	return printComparison(app, result)
}
