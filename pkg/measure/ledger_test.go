package measure_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/measure"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var l measure.Ledger
	for i, c := range []struct {
		outcome measure.Outcome
		effects int
	}{
		{measure.OK, 1},
		{measure.OK, 1},
		{measure.OK, 0},
		{measure.OK, 3},
		{measure.Failed, 0},
		{measure.Failed, 1},
		{measure.Unknown, 0},
		{measure.Unknown, 1},
		{measure.Unknown, 2},
		{measure.None, 0},
	} {
		id := fmt.Sprint(i)
		l.Ask(id, at(i))
		if c.outcome != measure.None {
			l.Report(id, c.outcome, at(i+1))
		}
		for n := range c.effects {
			l.Effect(measure.Effect{ID: id, At: at(i + 9 - n)})
		}
	}
	l.Effect(measure.Effect{ID: "never asked", At: at(1)})
	l.Report("never asked", measure.OK, at(1))
	want := measure.Balance{
		Asked: 10, OK: 4, Failed: 2, Unknown: 4, Effects: 10, Lost: 1, Twice: 2, Unexpected: 2, Recovered: 2,
	}
	require.Equal(t, want, l.Balance())
	require.Equal(t, 20, want.Plus(want).Asked)
	require.Equal(t, 4, want.Plus(want).Twice)
	all := l.Operations()
	require.Len(t, all, 10)
	require.Equal(t, measure.Operation{
		ID: "3", Asked: at(3), Reported: at(4), Outcome: measure.OK, Effects: 3, First: at(10),
	}, all[3])
}

func TestEffectLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := measure.NewEffectReader(dir + "/*.log")
	effects := func() (ids []string) {
		all, err := r.Effects(t.Context())
		require.NoError(t, err)
		for _, e := range all {
			require.False(t, e.At.IsZero())
			ids = append(ids, e.ID)
		}
		return ids
	}
	require.Empty(t, effects())
	a, err := measure.OpenEffectLog(dir + "/a.log")
	require.NoError(t, err)
	require.NoError(t, a.Record("1"))
	require.NoError(t, a.Record("two words"))
	require.Equal(t, []string{"1", "two words"}, effects())
	require.Empty(t, effects())
	require.NoError(t, a.Record("3"))
	require.NoError(t, a.Close())
	again, err := measure.OpenEffectLog(dir + "/a.log")
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, again.Record("4"))
	require.NoError(t, os.WriteFile(dir+"/b.log", []byte("7 1\n8 cut"), 0o600))
	require.Equal(t, []string{"3", "4", "1"}, effects())
	require.NoError(t, os.WriteFile(dir+"/b.log", []byte("7 1\n8 cut off\n"), 0o600))
	require.Equal(t, []string{"cut off"}, effects())
	require.NoError(t, os.WriteFile(dir+"/c.log", []byte("what is this\n"), 0o600))
	_, err = r.Effects(t.Context())
	require.ErrorContains(t, err, "not an effect")
}
