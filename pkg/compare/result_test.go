package compare_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/measure"
)

// result compares three ways in memory.
func result(t *testing.T) *compare.Result {
	r := newReceivers()
	fast := r.sync("fast", 10*time.Millisecond)
	fast.Protocol, fast.Connections = "none", func() int { return 7 }
	c, err := compare.New(faked(r, fast, r.sync("slow", 20*time.Millisecond), withRetries(fast), r.queue("queue|", 49*time.Millisecond)))
	require.NoError(t, err)
	part := compare.Part{Handler: "nothing", Ways: c.Ways()}
	part.Speed, err = c.Speed(t.Context(), compare.SpeedConfig{Rounds: 6, For: 200 * time.Millisecond, InFlight: []int{4}})
	require.NoError(t, err)
	part.Ratios = compare.Ratios(part.Speed)
	part.Bytes, err = c.Bytes(t.Context(), compare.BytesConfig{Operations: 10, Ways: []compare.CountedWay{
		{Way: fast, Hops: []compare.Hop{{Name: "caller–receiver", Traffic: func() measure.Traffic { return measure.Traffic{Connections: 2} }}}},
	}})
	require.NoError(t, err)
	part.Faults, err = c.Faults(t.Context(), compare.FaultsConfig{Faults: []compare.Fault{
		nothing,
		{Name: "dead", Label: "Dead for 2 s", Inflict: r.kill, For: 2 * time.Second, Heal: r.heal},
		{Name: "slow", Label: "Slow for ever", Inflict: r.slowDown(time.Second)},
	}})
	require.NoError(t, err)
	part.Stray = c.Stray()
	return &compare.Result{
		Format: compare.Format, Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Machine: compare.ThisMachine(),
		Versions: map[string]string{"go": "go1"}, Parts: []compare.Part{part},
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := result(t)
		encoded, err := json.Marshal(r)
		require.NoError(t, err)
		for _, name := range regexp.MustCompile(`"([^"]*)":`).FindAllStringSubmatch(string(encoded), -1) {
			require.Regexp(t, `^[a-z0-9_]+$`, name[1])
		}
		var decoded compare.Result
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		again, err := json.Marshal(&decoded)
		require.NoError(t, err)
		require.JSONEq(t, string(encoded), string(again))
		row := decoded.Parts[0].Speed[0]
		require.InEpsilon(t, 10, row.P50.Median, 0.01)
		require.InEpsilon(t, 10, float64(row.Samples[5].P50), 0.01)
		require.False(t, row.BrokerCPU.Known())
		var members struct {
			Machine map[string]any   `json:"machine"`
			Parts   []map[string]any `json:"parts"`
		}
		require.NoError(t, json.Unmarshal(encoded, &members))
		require.NotContains(t, members.Machine, "host")
		require.Contains(t, members.Parts[0]["ratios"].([]any)[0], "undecided")
		require.Contains(t, members.Parts[0]["ratios"].([]any)[0], "ratio")

		var page bytes.Buffer
		require.NoError(t, r.Markdown(&page))
		for _, want := range []string{
			"## Handler: nothing\n", "### 200 a second\n", "### 4 in flight\n", "### Dead for 2 s (healed after 2.0 s)\n", "| Way fast | none | 7 |",
			`| Way queue\| |`, "| Way fast | caller–receiver | 0 | 0 | 2 |", "undisturbed |", "not in time |", "| Way slow | 186 (", "| 2.00 (2.00–2.00) |",
		} {
			require.Contains(t, page.String(), want)
		}
		require.NotContains(t, page.String(), "NaN")
		require.NotContains(t, page.String(), "Inf")
		require.NotContains(t, page.String(), "%!")

		var chart bytes.Buffer
		require.NoError(t, r.Chart(&chart))
		require.NotContains(t, chart.String(), "NaN")
		require.NotContains(t, chart.String(), "Inf")
		require.Contains(t, chart.String(), "Dead for 2 s: reported ok")
		require.Contains(t, chart.String(), "per cent; healed after 2.0 s")
		require.NotContains(t, chart.String(), ">125<", "the axis of a share ends at 100")
		require.NotContains(t, chart.String(), ">150<")
		require.Contains(t, chart.String(), "Medians of 6 rounds")
		for decoder := xml.NewDecoder(&chart); ; {
			_, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
	})
}

func TestTablesAreComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tables := result(t).Parts[0].Tables()
		require.Len(t, tables, 2+1+3)
		for _, table := range tables {
			require.NotEmpty(t, table.Rows, table.Title)
			for _, row := range table.Rows {
				require.Len(t, row, len(table.Columns), table.Title)
			}
		}
	})
	require.Empty(t, (&compare.Part{}).Tables())
}
