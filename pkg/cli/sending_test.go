package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	neturl "net/url"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// sentLine is a line of send -o jsonl.
type sentLine struct {
	Sent, Failed, Unconfirmed int

	IDs       []string
	ElapsedMS float64 `json:"elapsed_ms"`
	Error     string
}

func sentLines(t *testing.T, c *command) []sentLine {
	t.Helper()
	var all []sentLine
	for _, line := range c.out.lines() {
		var l sentLine
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		all = append(all, l)
	}
	return all
}

func TestSendStreamsOutcomes(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	in, typed := io.Pipe()
	t.Cleanup(func() { _ = typed.Close() })
	c := kitchenAt(t, url, "send", "oven.bake", "-f", "-", "--lines", "-o", "jsonl", "--client-max-body", "1000")
	c.stdin = in
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(t.Context()) }()
	typeLine := func(line string, n int) {
		_, err := io.WriteString(typed, line+"\n")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Count(c.out.String(), "\n") == n }, patience, tick, "before the next line is typed")
	}
	typeLine(aPie, 1)
	typeLine(strings.Replace(aPie, "pie", strings.Repeat("pie", 400), 1), 2)
	typeLine(aPie, 3)
	require.NoError(t, typed.Close())
	require.Equal(t, cli.ExitPartial, <-ended, c.err.String())
	for i, l := range sentLines(t, c) {
		if i == 1 {
			require.Equal(t, []int{0, 1, 0}, []int{l.Sent, l.Failed, len(l.IDs)})
			require.Contains(t, l.Error, "too large")
			continue
		}
		require.Equal(t, []int{1, 0, 1}, []int{l.Sent, l.Failed, len(l.IDs)})
		require.Empty(t, l.Error)
	}
}

func TestSendTellsTheTimeOfEachMessage(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	const apart, n = 100 * time.Millisecond, 6
	for _, args := range [][]string{{"--rate", "10/s"}, {}} {
		c := kitchenAt(t, url, append([]string{"send", "oven.bake", aPie, "-n", "6", "-o", "jsonl"}, args...)...)
		began := time.Now()
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		ended := time.Now()
		lines := sentLines(t, c)
		require.Len(t, lines, n)
		ids := map[string]bool{}
		for i, l := range lines {
			require.Positive(t, l.ElapsedMS)
			ids[l.IDs[0]] = true
			if len(args) > 0 { // one by one: the time of each is what is left after its turn has come, at most
				took := time.Duration(l.ElapsedMS * float64(time.Millisecond))
				turn := began.Add(time.Duration(i)*apart - time.Millisecond)
				require.WithinRange(t, ended.Add(-took), turn, ended, "it is not that of all")
			}
		}
		require.Len(t, ids, n)
	}
}

// A broker that is no longer heard of leaves messages of which nobody knows: neither sent nor failed. It is noticed in
// --timeout, though the messages are slow in coming.
func TestSendWithoutConfirms(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	address, err := neturl.Parse(url)
	require.NoError(t, err)
	between := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "broker", "127.0.0.1:0", address.Host)
	require.NoError(t, between.Start())
	t.Cleanup(between.Stop)
	through := *address
	through.Host = between.Listen

	c := kitchenAt(t, through.String(), "send", "oven.bake", aPie, "-n", "1000000", "--rate", "50/s", "--timeout", "8s", "-o", "json")
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(t.Context()) }()
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		require.Eventually(tb, func() bool {
			state, err := conn.Inspect(ctx, "oven.bake")
			return err == nil && state.Ready >= 5
		}, patience, tick)
	})
	_, err = between.Toxics.AddToxicJson(strings.NewReader(`{"type": "timeout", "attributes": {"timeout": 0}}`)) // silence
	require.NoError(t, err)
	require.Equal(t, cli.ExitPartial, <-ended, c.err.String())
	var total sentLine
	require.NoError(t, json.Unmarshal([]byte(c.out.String()), &total))
	require.Positive(t, total.Sent)
	require.Len(t, total.IDs, total.Sent)
	require.Positive(t, total.Unconfirmed)
	require.Zero(t, total.Failed)
	require.Regexp(t, fmt.Sprintf(`"message":"%d sent and confirmed, %d perhaps \(unconfirmed\); first failure: .*unconfirmed.*; stopped at message %d of 1000000: unconfirmed within 8s`,
		total.Sent, total.Unconfirmed, total.Sent+total.Unconfirmed+1), c.err.String())
	require.Less(t, total.Unconfirmed, 5000, "as if all had been handed over")
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		state, err := conn.Inspect(ctx, "oven.bake")
		require.NoError(tb, err)
		require.GreaterOrEqual(tb, state.Ready, total.Sent)
		require.LessOrEqual(tb, state.Ready, total.Sent+total.Unconfirmed)
	})
}

// A message that was sent stays sent, though standard output cannot report it: standard error warns against sending it
// again.
func TestSendThatCannotBeReported(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	c := kitchenAt(t, url, "send", "oven.bake", aPie, "--id", "mine")
	c.stdout = &brokenPipe{0}
	require.Equal(t, cli.ExitError, c.run(t.Context()))
	require.Contains(t, c.err.String(), "error: mine was sent and confirmed, but printing that failed: ")
}

func TestSendEndsWhereNobodyReads(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "1000000", "-o", "jsonl", "--rate", "1000/s")
	c.stdout = &brokenPipe{1}
	require.Equal(t, cli.ExitError, c.run(ctx), c.err.String())
	require.Contains(t, c.err.String(), "closed pipe")
}
