package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/schema"
)

type statusOptions struct {
	health.Config

	limit int
}

func (a *App) statusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether all is well: the broker, the queues, what fails and what waits",
		Long: "Say whether all is well, for a person or a pager: a line for each thing that is wrong, with the command that shows or\n" +
			"fixes it. The exit code is 0 if the system is healthy, 9 if something failed, 7 if the broker cannot be reached.\n\n" +
			"Failed: an alarm or a node that is down, messages that nobody takes, messages that failed in the last hour, messages\n" +
			"that lost their queue, and policies of the broker that lose messages. A warning does not make a system unhealthy:\n" +
			"older dead letters, services that do not run though nothing waits for them, and whatever could not be looked at.\n\n" +
			"Without the broker's management API, or with few rights, it sees less, and says what. It takes messages from\n" +
			"dead-letter queues only, to say why they failed, and puts them back.",
		Example: fmt.Sprintf("  %[1]s status\n  %[1]s status --recent 10m -o json\n  %[1]s status --recent 0 --ignore policy,not_declared", a.Name),
		Args:    Arguments(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.showStatus(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.DurationVar(&o.Recent, "recent", time.Hour, "dead letters fail the check while the newest is younger than this `duration`; with 0 they are only a warning")
	f.IntVar(&o.limit, "limit", 200, "read at most this many dead letters per queue, to say why they failed; with 0 none are read")
	f.StringSliceVar(&o.Ignore, "ignore", nil, "leave out the checks with these `codes`, such as policy,not_declared")
	_ = cmd.RegisterFlagCompletionFunc("ignore", cobra.FixedCompletions(health.Checks(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *App) showStatus(ctx context.Context, o statusOptions) error {
	switch {
	case o.Recent < 0:
		return usage("", "--recent is %v; it must be 0 or more", o.Recent)
	case o.limit < 0:
		return usage("", "--limit is %d; it must be 0 or more", o.limit)
	}
	for _, code := range o.Ignore {
		if known := health.Checks(); !slices.Contains(known, code) {
			return usage("", "--ignore has %q%s; the checks are %s", code, schema.DidYouMean(code, known), strings.Join(known, ", "))
		}
	}
	facts, err := a.facts(ctx, o.limit)
	if err != nil {
		return err
	}
	report := health.Examine(facts, o.Config)
	if a.Format() == FormatText {
		err = a.printReport(report)
	} else {
		err = a.PrintJSON(report)
	}
	switch {
	case err != nil:
		return err
	case report.Verdict == health.Unreachable:
		return &Error{Exit: ExitUnreachable}
	case report.Verdict == health.Unhealthy:
		return &Error{Exit: ExitUnhealthy}
	}
	return nil
}

// printReport writes a report for people: the verdict, and a line for each finding.
func (a *App) printReport(r health.Report) error {
	var b strings.Builder
	verdict := map[health.Verdict]term.Paint{health.Healthy: term.Green, health.Unhealthy: term.Red, health.Unreachable: term.Red}[r.Verdict]
	b.WriteString(a.Paint(verdict, string(r.Verdict)))
	var sum []string
	if r.Failed > 0 {
		sum = append(sum, fmt.Sprintf("%d failed", r.Failed))
	}
	if r.Warning > 0 {
		sum = append(sum, plural(r.Warning, "warning"))
	}
	if r.Empty {
		sum = append(sum, "nothing has run here yet")
	}
	if len(sum) > 0 {
		b.WriteString(": " + strings.Join(sum, ", "))
	}
	b.WriteString("\n\n")
	code := 0
	for _, f := range r.Findings {
		code = max(code, len(f.Check))
	}
	type kind struct {
		check string
		state health.State
	}
	shown := map[kind]int{}
	findings := together(r.Findings)
	for _, f := range findings {
		k := kind{f.Check, f.State}
		if shown[k]++; shown[k] > mostLines {
			continue
		}
		paint := map[health.State]term.Paint{health.OK: term.Green, health.Warning: term.Yellow, health.Failed: term.Red}[f.State]
		fmt.Fprintf(&b, "%s  %-*s  %s", a.Paint(paint, fmt.Sprintf("%-7s", f.State)), code, f.Check, term.OneLine(strings.ReplaceAll(f.Text, "\n  ", "; ")))
		if f.Next != "" {
			b.WriteString(" " + a.Paint(term.Dim, "->") + " " + term.OneLine(f.Next))
		}
		b.WriteString("\n")
	}
	for _, f := range findings { // in their order
		k := kind{f.Check, f.State}
		if n := shown[k] - mostLines; n > 0 {
			fmt.Fprintf(&b, "%-7s  %-*s  and %d more, which -o json has\n", f.State, code, f.Check, n)
			shown[k] = 0
		}
	}
	return a.Printf("%s", b.String())
}

// together makes one finding of those of a policy that does the same to several queues.
func together(findings []health.Finding) []health.Finding {
	effect := func(f health.Finding) string {
		return string(f.State) + strings.NewReplacer(f.Queue, "", deadletter.WorkQueue(f.Queue), "").Replace(f.Text)
	}
	likewise := map[string][]string{}
	var all []health.Finding
	for _, f := range findings {
		if f.Check != health.CheckPolicy || f.Queue == "" {
			all = append(all, f)
			continue
		}
		if likewise[effect(f)] = append(likewise[effect(f)], f.Queue); len(likewise[effect(f)]) == 1 {
			all = append(all, f)
		}
	}
	for i, f := range all {
		const named = 3
		if others := likewise[effect(f)]; len(others) > 1 {
			names := strings.Join(others[1:min(len(others), named+1)], ", ")
			if more := len(others) - 1 - named; more > 0 {
				names += fmt.Sprintf(", and %d more, which -o json has", more)
			}
			all[i].Text += " (likewise " + names + ")"
		}
	}
	return all
}

// mostLines is how many findings of one check and state are written for people.
const mostLines = 20

func plural(n int, what string) string {
	return fmt.Sprintf("%d %s%s", n, what, map[bool]string{false: "s"}[n == 1])
}
