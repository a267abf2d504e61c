package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

const tick = 5 * time.Millisecond

// watched is a line of queues --watch -o jsonl.
type watched struct {
	At       time.Time `json:"at"`
	Name     string    `json:"name"`
	Ready    *int      `json:"ready"`
	In       *float64  `json:"in_per_s"`
	Oldest   *float64  `json:"oldest_s"`
	ClearsIn *float64  `json:"clears_in_s"`

	OldestFrom string `json:"oldest_from"`
}

// watch runs queues --watch until a line is as wanted, and Ctrl-C then.
func watch(t *testing.T, c *command, until func(watched) bool) []watched {
	t.Helper()
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	var all []watched
	read := 0 // bytes of the output, which grows
	require.Eventually(t, func() bool {
		text := c.out.String()[read:]
		text = text[:strings.LastIndexByte(text, '\n')+1]
		read += len(text)
		for line := range strings.Lines(text) {
			var w watched
			require.NoError(t, json.Unmarshal([]byte(line), &w))
			all = append(all, w)
		}
		return len(all) > 1 && until(all[len(all)-1])
	}, 4*patience, tick)
	ctrlC()
	require.Equal(t, cli.ExitOK, <-ended, c.err.String())
	return all
}

func TestWatchSeesRatesOfTheManagementAPI(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	c := kitchenAt(t, url, "queues", "oven.bake", "--watch=100ms", "-o", "jsonl", "--broker-management-url", leverettest.Node(t).ManagementURL())
	sending := kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "1000000", "--rate", "50/s")
	ctx, stop := context.WithCancel(t.Context())
	sent := make(chan cli.ExitCode, 1)
	go func() { sent <- sending.run(ctx) }()
	watch(t, c, func(w watched) bool { return w.In != nil && *w.In > 5 && *w.Ready > 0 && w.ClearsIn == nil })
	stop()
	require.Equal(t, cli.ExitInterrupted, <-sent)
	require.Empty(t, c.err.String())
}

// A classic queue, which requests have by default, shows when its oldest message was sent.
func TestWatchSeesTheOldestRequest(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	began := time.Now().Truncate(time.Second) // as precise as the time of a message
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "send", "--raw", "--routing-key", "oven.price", "{}").run(t.Context()))
	c := kitchenAt(t, url, "queues", "oven.price", "--watch=100ms", "-o", "jsonl", "--broker-management-url", leverettest.Node(t).ManagementURL())
	all := watch(t, c, func(w watched) bool { return w.Oldest != nil })
	last := all[len(all)-1]
	sent := last.At.Add(-time.Duration(*last.Oldest * float64(time.Second)))
	require.WithinRange(t, sent, began, last.At, "it is no older than the command that sent it")
}

func TestWatchEstimatesFromTwoSamples(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "60").run(t.Context()))
	c := kitchenAt(t, url, "queues", "oven.bake", "--watch", "200ms", "-o", "json", "--broker-management-url", "http://127.0.0.1:1")
	looks := []watched{{At: time.Now()}}
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		channel, err := conn.Channel(ctx)
		require.NoError(tb, err)
		taken := 0
		looks = append(looks, watch(t, c, func(w watched) bool { // each look finds fewer
			if d, ok, err := channel.Get("oven.bake", false); taken < 50 && err == nil && ok && d.Ack(false) == nil {
				taken++
			}
			return w.ClearsIn != nil
		})...)
		require.NoError(tb, channel.Close())
	})
	last, before, earlier := looks[len(looks)-1], looks[len(looks)-2], looks[len(looks)-3]
	require.Positive(t, *last.ClearsIn)
	fell := *before.Ready - *last.Ready
	require.Positive(t, fell)
	// The last two looks are no further apart than this: one that is printed has ended, and the next has not begun.
	apart := last.At.Sub(earlier.At).Seconds()
	require.LessOrEqual(t, *last.ClearsIn, float64(*last.Ready)*apart/float64(fell))
	require.Nil(t, last.In)
	require.Equal(t, 1, strings.Count(c.err.String(), "management API"), "it is reported once: %s", c.err.String())
}

func TestWatchDrawsOverWhatItDrew(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	for _, terminal := range []bool{true, false} {
		c := kitchenAt(t, url, "queues", "oven.*", "--watch=100ms", "--broker-management-url", leverettest.Node(t).ManagementURL())
		c.terminal = terminal
		ctx, ctrlC := context.WithCancel(t.Context())
		ended := make(chan cli.ExitCode, 1)
		go func() { ended <- c.run(ctx) }()
		require.Eventually(t, func() bool { return strings.Count(c.out.String(), "QUEUE") >= 3 }, patience, tick)
		ctrlC()
		require.Equal(t, cli.ExitOK, <-ended)
		require.Equal(t, terminal, strings.HasPrefix(c.out.String(), escape+"[2J"+escape+"[H"))
		require.Equal(t, terminal, strings.Contains(c.out.String(), escape+"[J"))
	}
}

func TestWatchFitsTheTerminal(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	for _, size := range []struct{ width, height int }{{80, 24}, {80, 9}, {40, 6}, {20, 4}, {200, 3}} {
		c := kitchenAt(t, url, "queues", "--watch=100ms", "--color", "never", "--broker-management-url", leverettest.Node(t).ManagementURL())
		c.terminal, c.width, c.height = true, size.width, size.height
		ctx, ctrlC := context.WithCancel(t.Context())
		ended := make(chan cli.ExitCode, 1)
		go func() { ended <- c.run(ctx) }()
		require.Eventually(t, func() bool { return strings.Count(c.out.String(), escape+"[J") >= 2 }, patience, tick)
		ctrlC()
		require.Equal(t, cli.ExitOK, <-ended)
		screen, _, _ := strings.Cut(strings.TrimPrefix(c.out.String(), escape+"[2J"+escape+"[H"), escape+"[J")
		lines := strings.Split(strings.ReplaceAll(screen, escape+"[K", ""), "\n")
		require.LessOrEqual(t, len(lines), max(size.height, 4), screen) // the last one is where the cursor is
		for _, line := range lines {
			require.LessOrEqual(t, utf8.RuneCountInString(line), size.width, screen)
		}
		require.Contains(t, lines[1], "READY")
		all := len(catalogQueues(t))
		// The five work queues have something to see: no consumers. The others are idle.
		if room := size.height - 3; room < all {
			idle := fmt.Sprintf("… %d idle queues", all-5)
			if room-1 < 5 {
				idle = fmt.Sprintf("… %d more, and %d idle queues", 5-max(room-1, 0), all-5)
			}
			require.Equal(t, idle[:min(len(idle), 12)], lines[len(lines)-2][:min(len(lines[len(lines)-2]), 12)], screen)
		}
	}
}

// catalogQueues returns the names of the queues that are shown.
func catalogQueues(t *testing.T) []string {
	t.Helper()
	c := &command{args: []string{"__complete", "queues", "show", ""}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	lines := c.out.lines()
	return lines[:len(lines)-1] // the last one is a directive
}
