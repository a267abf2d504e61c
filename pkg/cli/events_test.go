package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/stream"
)

// catchUp makes a replay to the ledger, or to another service, with its state in a folder of its own.
func catchUp(tb testing.TB, url string, args ...string) *command {
	tb.Helper()
	state := filepath.Join(tb.TempDir(), "state.json")
	c := kitchenAt(tb, url, append([]string{"events", "replay", "bread.sold", "--to", "ledger", "--from", "first", "--state", state}, args...)...)
	c.catalog = bakery
	return c
}

// replayed is what a replay prints under -o json.
type replayed struct {
	Complete, Resumed                      bool
	Read, Matched, Copied, Unsure, Skipped int

	Last *int64 `json:"last_offset"`
}

func replayedBy(tb testing.TB, c *command) (r replayed) {
	tb.Helper()
	require.NoError(tb, json.Unmarshal([]byte(c.out.String()), &r), "%s", c.err.String())
	return r
}

// loaves takes all messages of the ledger, and returns the numbers of their loaves. It gets each of them: a quorum queue
// answers that there is none only when that is so, whereas one that is busy counts 0 where it has some.
func loaves(tb testing.TB, url string) (all []int) {
	tb.Helper()
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		for {
			d, ok, err := ch.Get(ledgerQueue, true)
			require.NoError(tb, err)
			if !ok {
				return
			}
			n, err := strconv.Atoi(strings.TrimPrefix(d.MessageId, "loaf-"))
			require.NoError(tb, err)
			all = append(all, n)
		}
	})
	return all
}

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// A service that begins a year later gets the year, in order and once. What it has handled it recognises: catching up
// again has no effect. Other subscribers get nothing.
func TestALateSubscriberCatchesUp(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, soldStream, 0, 1000, 0, time.Now().AddDate(-1, 0, 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	var mu sync.Mutex
	var effects []int
	handled, seen := 0, map[string]bool{}
	h := leveret.NewHandlers(ledger, leveret.HandlersConfig{})
	breadSold.Subscribe(h, func(ctx context.Context, s sold) error {
		mu.Lock()
		defer mu.Unlock()
		handled++
		if id := leveret.MessageFrom(ctx).ID; !seen[id] {
			seen[id] = true
			effects = append(effects, s.Loaf)
		}
		return nil
	})
	breadStale.Subscribe(h, func(context.Context, sold) error { return nil })
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{Concurrency: 1})
	require.NoError(t, err)
	var worker sync.WaitGroup
	worker.Go(func() { _ = w.Run(ctx) })
	for round := range 2 {
		c := catchUp(t, url, "--yes")
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		require.Equal(t, "copied 1000 events to ledger.on.bread.sold, of 1000 from offset 0 to 999\n", c.out.String())
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return handled >= 1000*(round+1)
		}, patience, tick)
	}
	cancel()
	worker.Wait()
	require.Equal(t, numbers(1000), effects)
	require.Equal(t, 2000, handled)
	ready(t, url, "crier.on.bread.sold", 0)
	ready(t, url, diaryQueue, 0)
}

// copied returns how many events were copied, as a state file says.
func copied(state string) int {
	var s struct{ Copied int }
	if text, err := os.ReadFile(state); err != nil || json.Unmarshal(text, &s) != nil {
		return 0
	}
	return s.Copied
}

// kills is how often TestAKilledReplayGoesOn kills the command; TEST_REPLAY_KILLS changes it.
func kills(tb testing.TB) int {
	tb.Helper()
	text, ok := os.LookupEnv("TEST_REPLAY_KILLS")
	if !ok {
		return 20
	}
	n, err := strconv.Atoi(text)
	require.NoError(tb, err)
	return n
}

// However often a replay is killed, the same command goes on: each event is in the queue, and few of them twice. Every
// other life is so slow that it is killed for certain, and each is left alone once it comes near the end.
func TestAKilledReplayGoesOn(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	most := kills(t)
	n := 400 * most
	sell(t, url, soldStream, 0, n, 0, time.Now())
	program, err := exec.LookPath("bakery")
	require.NoError(t, err)
	folder := t.TempDir()
	state := filepath.Join(folder, "bakery-replay-bread.sold-to-ledger.json")
	killed := 0
	var out bytes.Buffer
	live := func(args ...string) (ended bool) {
		cmd := exec.CommandContext(t.Context(), program, append([]string{"events", "replay", "bread.sold", "--to", "ledger", "--from", "first", "--yes", "-o", "json"}, args...)...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "LEVERET_BROKER_URL="+url)
		out.Reset()
		var diagnosis bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &diagnosis
		before := copied(state)
		require.NoError(t, cmd.Start())
		end := make(chan error, 1)
		go func() { end <- cmd.Wait() }()
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for left := rand.IntN(100); ; {
			select {
			case err := <-end:
				require.NoError(t, err, "%s", diagnosis.String())
				return true
			case <-look.C:
			}
			now := copied(state)
			if killed == most || now <= before || now > n*3/4 {
				continue
			}
			if left--; left < 0 {
				require.NoError(t, cmd.Process.Kill())
				killed++
				return <-end == nil
			}
		}
	}
	ended, gone := false, false
	for life := 0; !ended && !gone; life++ {
		if life%2 == 0 && killed < most && copied(state) <= n*3/4 {
			ended = live("--rate", "500/s")
		} else {
			ended = live()
		}
		_, err := os.Stat(state)
		gone = errors.Is(err, os.ErrNotExist)
	}
	require.True(t, gone)
	require.Positive(t, killed)
	times := make([]int, n)
	got := loaves(t, url)
	for _, i := range got {
		times[i]++
	}
	for i, k := range times {
		require.Positive(t, k, "loaf %d is not there", i)
	}
	t.Logf("killed %d times: %d of %d events are there twice", killed, len(got)-n, n)
	require.LessOrEqual(t, len(got)-n, killed*stream.CopiedTogether)
	if !ended { // the last kill came too late, behind its end
		return
	}
	var last replayed
	require.NoError(t, json.Unmarshal(out.Bytes(), &last))
	require.True(t, last.Resumed)
	require.LessOrEqual(t, len(got)-n, last.Unsure)
	require.Equal(t, []int{n, n, n}, []int{last.Read, last.Matched, last.Copied})
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A broker that dies in the middle is waited for.
func TestAReplayOutlivesItsBroker(t *testing.T) {
	t.Parallel()
	node, err := devbroker.Start(t.Context(), devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(t.Context()))) })
	url, err := node.VHost(t.Context(), "bakery")
	require.NoError(t, err)
	onBroker(t, url, open)
	const n = 3000
	sell(t, url, soldStream, 0, n, 0, time.Now())
	c := catchUp(t, url, "--yes", "-o", "json", "--rate", "20/s") // so slow that it does not end meanwhile
	state := c.args[8]
	ended := make(chan cli.ExitCode, 1)
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	go func() { ended <- c.run(ctx) }()
	require.Eventually(t, func() bool { return copied(state) > 20 }, patience, tick)
	require.NoError(t, node.Kill())
	before := copied(state)
	require.NoError(t, node.Start(t.Context()))
	require.Eventually(t, func() bool { return copied(state) > before+20 }, patience, tick, "%s", &c.err)
	ctrlC()
	require.Equal(t, cli.ExitInterrupted, <-ended, c.err.String())
	rest := &command{args: append(slices.Clip(c.args), "--rate", "100000/s"), catalog: bakery}
	require.Equal(t, cli.ExitOK, rest.run(t.Context()), rest.err.String())
	r := replayedBy(t, rest)
	require.Equal(t, n, r.Copied)
	got := map[int]bool{}
	all := loaves(t, url)
	for _, i := range all {
		got[i] = true
	}
	require.Len(t, got, n)
	require.LessOrEqual(t, len(all)-n, r.Unsure)
}

func TestAnInterruptedReplayGoesOn(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, soldStream, 0, 300, 0, time.Now())
	c := catchUp(t, url, "--yes", "-o", "jsonl", "--where", "payload.loaf % 3 > 0")
	interrupt(t, c, 5)
	require.Contains(t, c.err.String(), `"next":"run the same command again: it goes on where this one has ended"`)

	other := &command{args: append(slices.Clip(c.args), "--limit", "7"), catalog: bakery}
	require.Equal(t, cli.ExitUsage, other.run(t.Context()))
	require.Contains(t, other.err.String(), "is that of another replay: --limit differs")

	again := &command{args: append(slices.Clip(c.args), "-o", "json"), catalog: bakery}
	require.Equal(t, cli.ExitOK, again.run(t.Context()), again.err.String())
	r := replayedBy(t, again)
	require.Equal(t, replayed{Complete: true, Resumed: true, Read: 300, Matched: 200, Copied: 200, Skipped: 100, Last: r.Last, Unsure: r.Unsure}, r)
	got := loaves(t, url)
	require.LessOrEqual(t, len(got), 200+r.Unsure) // a busy broker may confirm too late for an interruption
	next := 0
	for _, n := range got {
		if n == next/2*3+next%2+1 {
			next++
		}
	}
	require.Equal(t, 200, next)
}

// gate lets some lines through, and holds up whatever writes the next one until it is opened. A replay that is held up copies
// a hundred events at most.
type gate struct {
	left     int
	reached  chan struct{}
	opened   chan struct{}
	openOnce sync.Once
}

func newGate(after int) *gate {
	return &gate{left: after, reached: make(chan struct{}), opened: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	if g.left--; g.left == -1 {
		close(g.reached)
		<-g.opened
	}
	return len(p), nil
}

func (g *gate) open() { g.openOnce.Do(func() { close(g.opened) }) }

// interrupt runs a command that prints a line per event, and interrupts it after some, when do has returned.
func interrupt(t *testing.T, c *command, after int, do ...func()) {
	t.Helper()
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	g := newGate(after)
	defer g.open()
	c.stdout = g
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	select {
	case <-g.reached:
	case code := <-ended:
		t.Fatalf("it ended with %d: %s", code, &c.err)
	case <-time.After(patience):
		t.Fatalf("it prints nothing: %s", &c.err)
	}
	for _, f := range do {
		f()
	}
	ctrlC()
	g.open()
	require.Equal(t, cli.ExitInterrupted, <-ended, c.err.String())
}

func TestOneReplayForAStateFile(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, soldStream, 0, 300, 0, time.Now())
	c := catchUp(t, url, "--yes", "-o", "jsonl")
	interrupt(t, c, 1, func() {
		dry := &command{args: append(slices.Clip(c.args), "--dry-run"), catalog: bakery}
		require.Equal(t, cli.ExitOK, dry.run(t.Context()), dry.err.String())
		second := &command{args: c.args, catalog: bakery}
		require.Equal(t, cli.ExitError, second.run(t.Context()))
		require.Contains(t, second.err.String(), "another replay is running with the state file ")
	})
}

// A state file is that of one broker and virtual host.
func TestAReplayIsOfOneVirtualHost(t *testing.T) {
	t.Parallel()
	url, another := leverettest.Broker(t), leverettest.Broker(t)
	for _, u := range []string{url, another} {
		onBroker(t, u, open)
		sell(t, u, soldStream, 0, 300, 0, time.Now())
	}
	c := catchUp(t, url, "--yes", "-o", "jsonl")
	interrupt(t, c, 1)
	text, err := os.ReadFile(c.args[8])
	require.NoError(t, err)
	require.NotContains(t, string(text), "guest")

	elsewhere := catchUp(t, another, "--yes", "--state", c.args[8])
	require.Equal(t, cli.ExitUsage, elsewhere.run(t.Context()))
	require.Contains(t, elsewhere.err.String(), "is that of another replay: the virtual host differs")
	elsewhere = catchUp(t, strings.Replace(url, "127.0.0.1", "localhost", 1), "--yes", "--state", c.args[8])
	require.Equal(t, cli.ExitUsage, elsewhere.run(t.Context()))
	require.Contains(t, elsewhere.err.String(), "is that of another replay: the broker differs")
	require.Empty(t, loaves(t, another))
}

// What was deleted while a replay was interrupted is an error, which says how to go on.
func TestAReplayNoticesAGap(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, staleStream, 0, 300, 0, time.Now())
	c := catchUp(t, url, "--yes", "-o", "jsonl")
	c.args[2] = "bread.stale"
	interrupt(t, c, 3)
	killed := catchUp(t, url, "--yes")
	killed.args[2] = "bread.stale"
	writeState(t, c.args[8], killed.args[8], "done", "read", "matched", "copied") // as one leaves it that is killed at once
	overflow(t, url)

	again := &command{args: c.args, catalog: bakery}
	require.Equal(t, cli.ExitPartial, again.run(t.Context()))
	require.Regexp(t, `"message":"\d+ events copied, up to offset \d+ of 299: the events \d+ to \d+ of the stream bread.stale.kept were deleted`, again.err.String())
	require.Regexp(t, `"next":"go on with what is left: remove \S+, and run it with --from \d+"`, again.err.String())
	require.Equal(t, cli.ExitError, killed.run(t.Context()))
	require.Regexp(t, `error: the events 0 to \d+ of the stream bread.stale.kept were deleted before they were read`, killed.err.String())
	require.Regexp(t, `next:  go on with what is left: remove \S+, and run it with --from \d+\n`, killed.err.String())

	late := catchUp(t, url, "--yes")
	late.args[2], late.args[6] = "bread.stale", "3"
	require.Equal(t, cli.ExitNotFound, late.run(t.Context()))
	require.Regexp(t, `error: the events before offset \d+ are not kept any more\nnext:  begin with what is left: --from first\n`, late.err.String())
	late = catchUp(t, url, "--yes", "--limit", "1")
	late.args[2], late.args[6] = "bread.stale", "2020-01-01"
	require.Equal(t, cli.ExitOK, late.run(t.Context()), late.err.String())
	require.Regexp(t, `warning: events before offset \d+ are not kept any more`, late.err.String())
}

// writeState writes a state file like another one, without some of it.
func writeState(t *testing.T, from, to string, without ...string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	var state map[string]any
	require.NoError(t, json.Unmarshal(text, &state))
	for _, field := range without {
		delete(state, field)
	}
	state["running"] = true
	text, err = json.Marshal(state)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, text, 0o600))
}

// overflow publishes until the first 300 events of the small stream are deleted.
func overflow(t *testing.T, url string) {
	t.Helper()
	sell(t, url, staleStream, 300, 2000, 2000, time.Now())
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		require.Eventually(tb, func() bool { // RabbitMQ deletes segments when one is full
			e, err := stream.Find(ctx, conn, staleStream, stream.First())
			return err == nil && e != nil && e.Offset > 300
		}, patience, tick)
	})
}

// atOnce is a terminal at which somebody does something before the answer.
type atOnce struct {
	do     func()
	answer io.Reader
}

func (a *atOnce) Read(p []byte) (int, error) {
	if a.do != nil {
		a.do()
		a.do = nil
	}
	return a.answer.Read(p)
}

// What is deleted while the command asks is missed, too: the first event is not the one that it has found.
func TestAReplayNoticesAGapAtItsBeginning(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, staleStream, 0, 300, 0, time.Now())
	c := catchUp(t, url, "--color", "never")
	c.args[2] = "bread.stale"
	c.terminal, c.stdin = true, &atOnce{func() { overflow(t, url) }, strings.NewReader("y\n")}
	require.Equal(t, cli.ExitError, c.run(t.Context()), c.err.String())
	require.Regexp(t, `error: the events 0 to \d+ of the stream bread.stale.kept were deleted before they were read`, c.err.String())
	require.Regexp(t, `next:  go on with what is left: run it with --from \d+\n`, c.err.String())
	_, err := os.Stat(c.args[8])
	require.ErrorIs(t, err, os.ErrNotExist)
}

// The exchange of retries takes what has no queue any more, which does not count as copied.
func TestReplayThroughRetriesToAQueueThatGoes(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	const n = 1000
	sell(t, url, soldStream, 0, n, 0, time.Now())
	c := catchUp(t, url, append(userWho(t, url, "", rights{"^ledger", `^retry\.return$`, ".*"}), "--yes", "-o", "json", "--rate", "8/s")...)
	state := c.args[8]
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(t.Context()) }()
	require.Eventually(t, func() bool { return copied(state) > 0 }, patience, tick)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		_, err = ch.QueueDelete(ledgerQueue, false, false, false)
		require.NoError(tb, err)
	})
	require.Equal(t, cli.ExitPartial, <-ended, c.err.String())
	require.Contains(t, c.err.String(), "the queue ledger.on.bread.sold is gone")
	before := replayedBy(t, c)
	onBroker(t, url, open)
	rest := &command{args: append(slices.Clip(c.args), "--rate", "100000/s"), catalog: bakery}
	require.Equal(t, cli.ExitOK, rest.run(t.Context()), rest.err.String())
	require.Equal(t, n, replayedBy(t, rest).Copied)
	require.Equal(t, numbers(n)[before.Copied:], loaves(t, url))
}

// A user who may not write to the default exchange goes through the way back from the retries.
func TestReplayOfAUserWithFewRights(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, soldStream, 0, 250, 0, time.Now())
	args := append(userWho(t, url, "", rights{"^ledger", `^retry\.return$`, ".*"}), "--yes", "-o", "json")
	c := catchUp(t, url, args...)
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Equal(t, 250, replayedBy(t, c).Copied)
	require.Equal(t, numbers(250), loaves(t, url))

	c = catchUp(t, url, append(userWho(t, url, "", rights{"^ledger", "^$", ".*"}), "--yes")...)
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()), c.err.String())
	c = catchUp(t, url, append(userWho(t, url, "", rights{"^ledger", ".*", "^$"}), "--yes")...)
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()), c.err.String())
	require.Contains(t, c.err.String(), soldStream)

	c = kitchenAt(t, url, append(userWho(t, url, "", rights{"^$", ".*", "^$"}), "events", "ls")...)
	c.catalog = bakery
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()), c.err.String())
	require.Contains(t, c.err.String(), "warning: bread.sold.kept was not read: ")
	require.Empty(t, loaves(t, url))
}

func TestReplayWithoutABroker(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("wrong-and-secret"), 0o600))
	for _, args := range [][]string{{"--broker-password-file", file}, {"--broker-connect-timeout", "300ms", "--broker-url", "amqp://127.0.0.1:1/"}} {
		c := catchUp(t, url, "--yes")
		c.args = append(c.args, args...)
		require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
		require.NotContains(t, c.err.String(), "wrong-and-secret")
		_, err := os.Stat(c.args[8])
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

func TestReplayOfEventsAsks(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, soldStream, 0, 200, 0, time.Now())
	ask := func(answer string, args ...string) *command {
		c := catchUp(t, url, append(args, "--color", "never")...)
		c.terminal, c.stdin = true, strings.NewReader(answer)
		return c
	}
	c := ask("n\n", "--limit", "20", "--where", "payload.loaf > 3")
	require.Equal(t, cli.ExitError, c.run(t.Context()))
	require.Contains(t, c.err.String(), "copy the events of bread.sold from the first event to offset 199, 20 at most, of those that match payload.loaf > 3, to ledger.on.bread.sold? [y/N] ")
	c = ask("y\n", "--rate", "100/s")
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Regexp(t, `copied \S*━*\S*─* ?\d+/200  `, c.err.String())
	require.Equal(t, "copied 200 events to ledger.on.bread.sold, of 200 from offset 0 to 199\n", c.out.String())
}

func TestReplayOfEventsIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	sell(t, url, soldStream, 0, 20, 0, time.Now())
	c := catchUp(t, url, "--yes", "-o", "jsonl")
	c.stdout = &brokenPipe{1}
	require.Equal(t, cli.ExitError, c.run(t.Context()))
	require.Contains(t, c.err.String(), "closed pipe")
	require.Len(t, loaves(t, url), 20, "they were copied all the same")
}
