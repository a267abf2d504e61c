package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/faults"
	"github.com/leveretmq/leveret/bench/internal/growth"
	"github.com/leveretmq/leveret/bench/internal/report"
	"github.com/leveretmq/leveret/bench/internal/results"
)

// full are the options of a run without flags.
func full() options {
	return options{rounds: fullRounds, trials: 1, budget: 1, out: "page.md", chart: "chart.svg", keep: "results.json", scale: "scale.md"}
}

func TestANarrowedRunWritesOnlyWhatIsNamed(t *testing.T) {
	t.Parallel()
	p, err := newPlan(full(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"page.md", "chart.svg", "results.json", "scale.md"}, []string{p.out, p.chart, p.keep, p.scale})
	for name, narrow := range map[string]func(*options){
		"only":   func(o *options) { o.only = "publish" },
		"peers":  func(o *options) { o.peers = "raw" },
		"short":  func(o *options) { o.short = true },
		"rounds": func(o *options) { o.rounds = 1 },
	} {
		o := full()
		narrow(&o)
		p, err := newPlan(o, map[string]bool{"out": true})
		require.NoError(t, err)
		require.Equal(t, []string{"page.md", "", "", ""}, []string{p.out, p.chart, p.keep, p.scale}, name)
	}
}

func TestPathsAreCheckedBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := &plan{options: options{out: filepath.Join(dir, "page.md"), chart: "chart.svg"}}
	require.NoError(t, p.check())
	require.NoFileExists(t, p.out)
	relative, err := p.chartFromPage() // one of them absolute
	require.NoError(t, err)
	require.Equal(t, "chart.svg", filepath.Base(relative))
	p.out = filepath.Join(dir, "missing", "page.md")
	require.ErrorIs(t, p.check(), os.ErrNotExist)
}

func TestGrowthByName(t *testing.T) {
	t.Parallel()
	o := full()
	o.only = "growth/callers,publish,growth/dead-letters"
	p, err := newPlan(o, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"growth"}, p.parts)
	require.Equal(t, []string{"callers", "dead-letters"}, p.series)
	require.Len(t, p.scenarios, 1)
	o.only, o.short = "growth", true
	p, err = newPlan(o, nil)
	require.NoError(t, err)
	require.True(t, p.has("growth"))
	require.Empty(t, p.series)
	require.Empty(t, p.scenarios)
	o.only = "growth/hair"
	_, err = newPlan(o, nil)
	require.ErrorContains(t, err, "dead-letters")
}

func TestThePageOfGrowthIsCheckedBefore(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "scale.md")
	require.NoError(t, os.WriteFile(page, []byte("# Scale\n"), 0o600))
	p := &plan{options: options{scale: page}, parts: []string{"growth"}}
	require.ErrorIs(t, p.check(), report.ErrNotMarked)
	p.parts = nil
	require.NoError(t, p.check())
}

func TestWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := &results.Run{Rounds: 1, Scenarios: []string{"publish"}, Faults: []faults.Finding{{Peer: "raw"}}}
	p := &plan{options: options{out: filepath.Join(dir, "page.md"), chart: filepath.Join(dir, "sub", "chart.svg")}}
	require.Error(t, p.write(run))
	p.chart = filepath.Join(dir, "chart.svg")
	require.NoError(t, p.write(run))
	page, err := os.ReadFile(p.out)
	require.NoError(t, err)
	require.Contains(t, string(page), "](chart.svg)")
	require.FileExists(t, p.chart)
}

func TestGrowthAloneLeavesThePage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	page, err := os.ReadFile("../docs/scale.md")
	require.NoError(t, err)
	p := &plan{options: options{out: filepath.Join(dir, "page.md"), chart: filepath.Join(dir, "chart.svg"), scale: filepath.Join(dir, "scale.md")}}
	require.NoError(t, os.WriteFile(p.scale, page, 0o600))
	require.NoError(t, p.write(&results.Run{Growth: []growth.Series{{Name: "callers", Title: "Callers of this test", Of: "callers"}}}))
	require.NoFileExists(t, p.out)
	require.NoFileExists(t, p.chart)
	written, err := os.ReadFile(p.scale)
	require.NoError(t, err)
	require.Contains(t, string(written), "### Callers of this test\n")
}

func TestCommandCanBeTypedAgain(t *testing.T) {
	t.Parallel()
	require.Equal(t, `go run . -only 'call-*' -results '' --out=/a/b.md 'it'\''s'`, command([]string{"-only", "call-*", "-results", "", "--out=/a/b.md", "it's"}))
}
