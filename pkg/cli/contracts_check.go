package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/compat"
)

// checkResult is what `contracts check` prints under -o json.
type checkResult struct {
	File     string           `json:"file"`
	Breaks   int              `json:"breaks"`
	Careful  int              `json:"careful"`
	Safe     int              `json:"safe"`
	Findings []compat.Finding `json:"findings"`
	// Upgrades is the safe order of upgrade for each contract of which something breaks; empty if none is.
	Upgrades map[string]compat.Upgrade `json:"upgrades"`
}

type contractsCheckOptions struct {
	file    string
	verbose bool
}

func (a *App) contractsCheckCommand() *cobra.Command {
	var o contractsCheckOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find what breaks since the release in the lock file: for senders, receivers, callers and servers",
		Long: "Compare the contracts of this program with the lock file that `" + a.Name + " contracts lock` wrote at the last release.\n" +
			"During an upgrade old and new processes run side by side, and old messages wait: so each payload is compared in both\n" +
			"directions, and each finding says for whom it breaks, shows a payload that does, and says what to do.\n\n" +
			"Exit code 8 means that something breaks. docs/compatibility.md has the workflow, and all that is checked.",
		Example: fmt.Sprintf("  %[1]s contracts check\n  %[1]s contracts check -o json | jq -r '.findings[] | select(.severity == \"breaks\") | .contract'", a.Name),
		Args:    Arguments(0, 0),
		RunE:    func(*cobra.Command, []string) error { return a.checkContracts(o) },
	}
	cmd.Flags().StringVarP(&o.file, "file", "f", defaultLockFile, "compare with this `file`, or - for standard input")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "list what is safe, too")
	return cmd
}

func (a *App) checkContracts(o contractsCheckOptions) error {
	released, err := readLockFile(a, o.file, a.IO.In)
	if errors.Is(err, fs.ErrNotExist) {
		return Fail(ExitNotFound, a.Name+" contracts lock"+fileFlag(o.file), "there is no lock file %s: it is written at each release", o.file)
	}
	if err != nil {
		return err
	}
	current, err := compat.Of(a.Catalog)
	if err != nil {
		return err
	}
	findings, err := a.compare(released, current, o.file)
	if err != nil {
		return err
	}
	if err := a.printFindings(o.file, findings, o.verbose); err != nil {
		return err
	}
	if n := countBreaks(findings); n > 0 {
		return Fail(ExitDrift, "change the contracts, or deploy in the order given and accept it: "+a.Name+" contracts lock"+fileFlag(o.file)+" --accept-breaking",
			"%s", breaking(n))
	}
	if a.Format() == FormatText {
		a.Note("nothing breaks since the release in %s (%s)", describeSource(o.file), contractCount(current))
	}
	return nil
}

// compare compares two locks; an error is about the file.
func (a *App) compare(released, current *compat.Lock, file string) ([]compat.Finding, error) {
	findings, err := compat.Check(released, current)
	if err != nil {
		return nil, Fail(ExitUsage, "restore the file from version control, or remove it and run "+a.Name+" contracts lock"+fileFlag(file),
			"%s cannot be compared: %w", describeSource(file), err)
	}
	if findings == nil {
		findings = []compat.Finding{}
	}
	return findings, nil
}

func count(findings []compat.Finding, s compat.Severity) int {
	n := 0
	for _, f := range findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

func countBreaks(findings []compat.Finding) int { return count(findings, compat.Breaks) }

func breaking(n int) string {
	if n == 1 {
		return "1 change breaks what was released"
	}
	return fmt.Sprintf("%d changes break what was released", n)
}

// printFindings writes findings to standard output: what is safe only in JSON, or if it is asked for.
func (a *App) printFindings(file string, findings []compat.Finding, safe bool) error {
	switch a.Format() {
	case FormatJSON:
		return a.PrintJSON(checkResult{
			File: file, Breaks: countBreaks(findings), Careful: count(findings, compat.Careful), Safe: count(findings, compat.Safe),
			Findings: findings, Upgrades: compat.Orders(findings),
		})
	case FormatJSONL:
		for _, f := range findings {
			if err := a.PrintJSON(f); err != nil {
				return err
			}
		}
		return nil
	case FormatText:
	}
	var b strings.Builder
	for _, same := range alike(findings) {
		if same[0].Severity != compat.Safe || safe {
			a.writeFinding(&b, same[0], same[1:])
		}
	}
	a.writeOrders(&b, compat.Orders(findings))
	_, err := a.IO.Out.Write([]byte(b.String()))
	return err
}

// writeOrders writes the order of upgrade for each contract.
func (a *App) writeOrders(b *strings.Builder, orders map[string]compat.Upgrade) {
	if len(orders) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", a.out.Paint(term.Dim, "order of upgrade in which nothing breaks"))
	names := slices.Sorted(maps.Keys(orders))
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	for _, name := range names {
		fmt.Fprintf(b, "  %-*s  %s\n", width, term.Printable(name), cmp.Or(orders[name], "none"))
	}
}

// alike puts findings together that say the same of different fields, as when a type that many contracts use has changed.
func alike(findings []compat.Finding) [][]compat.Finding {
	type sentence struct {
		severity              compat.Severity
		message, affected, do string
	}
	var groups [][]compat.Finding
	at := map[sentence]int{}
	for _, f := range findings {
		if f.Affected == "" && f.Do == "" { // one line, which needs no other
			groups = append(groups, []compat.Finding{f})
			continue
		}
		s := sentence{f.Severity, f.Message, f.Affected, strings.ReplaceAll(f.Do, cmp.Or(f.Contract, f.Service), "")}
		if i, ok := at[s]; ok {
			groups[i] = append(groups[i], f)
			continue
		}
		at[s] = len(groups)
		groups = append(groups, []compat.Finding{f})
	}
	return groups
}

// subjectOf names what a finding is about.
func subjectOf(f compat.Finding) string {
	subject := cmp.Or(f.Contract, f.Service)
	if f.Part == "payload" || f.Part == "reply" {
		subject += " " + f.Part
	}
	if f.Path != "" {
		subject += " " + f.Path
	}
	return subject
}

// writeFinding writes a finding, and names the others of which the same is true.
func (a *App) writeFinding(b *strings.Builder, f compat.Finding, others []compat.Finding) {
	paint := map[compat.Severity]term.Paint{compat.Breaks: term.Red, compat.Careful: term.Yellow, compat.Safe: term.Green}[f.Severity]
	subject := subjectOf(f)
	if subject != "" {
		subject = a.out.Paint(term.Bold, term.Printable(subject)) + " "
	}
	fmt.Fprintf(b, "%s  %s%s\n", a.out.Paint(paint, fmt.Sprintf("%-7s", f.Severity)), subject, term.Printable(f.Message))
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(b, "         %s %s\n", a.out.Paint(term.Dim, fmt.Sprintf("%-8s", label)), term.Printable(text))
		}
	}
	line("for", f.Affected)
	line("example", shorten(string(f.Counterexample)))
	line("do", f.Do)
	label := "also"
	for _, other := range others {
		line(label, subjectOf(other))
		label = ""
	}
}

// maxExample is how many characters of a counterexample are shown to people; -o json has all of it.
const maxExample = 400

func shorten(text string) string {
	if r := []rune(text); len(r) > maxExample {
		return string(r[:maxExample]) + "… (all of it: -o json)"
	}
	return text
}
