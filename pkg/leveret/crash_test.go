package leveret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// crashFile is the environment variable that names the ledger of crashingWorker.
const crashFile = "LEVERET_TEST_CRASH_FILE"

// crashes is what the worker process serves, and how.
func crashes() (*leveret.Command[thing], *leveret.Service) {
	do := leveret.NewCommand[thing]("a.do", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{50 * time.Millisecond}}))
	return do, leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))
}

// crashingWorker is a worker that is killed. Its effect is a line in a file: the number of the message.
func crashingWorker(conn *leveret.Conn, _ <-chan string) (*leveret.Worker, error) {
	effects, err := os.OpenFile(os.Getenv(crashFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	do, service := crashes()
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	do.Handle(h, func(_ context.Context, v thing) error {
		if isPoison(v.N) {
			killOwnProcess()
			select {}
		}
		if v.N%10 == 3 {
			return errors.New("retried, and then dead-lettered")
		}
		_, err := effects.WriteString(strconv.Itoa(v.N) + "\n")
		return err
	})
	return leveret.NewWorker(conn, h, leveret.WorkerConfig{})
}

// TestKilled kills a worker process in the middle of its work, several times. Every message takes effect at least once
// or is a dead letter; none is lost, and none is anywhere else.
func TestKilled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n, kills = 3000, 4
	do, service := crashes()
	client := b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{})
	effects := t.TempDir() + "/effects"
	require.NoError(t, os.WriteFile(effects, nil, 0o600))
	written := func() map[int]int { return ledger(t, effects) }
	lines := func() int {
		text, err := os.ReadFile(effects)
		require.NoError(t, err)
		return bytes.Count(text, []byte{'\n'})
	}

	upTo, sent := make(chan int, kills+1), make(chan error, 1)
	go func() {
		sent <- func() error {
			p, i := client.Pipeline(nil), 0
			for end := range upTo {
				for ; i < end; i++ {
					if err := write(b.ctx, p, do, thing{N: i}); err != nil {
						return err
					}
				}
				if err := p.Flush(b.ctx); err != nil {
					return err
				}
			}
			return nil
		}()
	}()

	start := func() *process { return b.launch("crashing", b.url, crashFile+"="+effects) }
	const part = n / (kills + 1)
	for k := range kills {
		before := lines()
		upTo <- (k + 1) * part // which no earlier worker can have had
		p := start()
		b.eventually(func() bool { return lines() >= before+part/2 })
		p.signal(syscall.SIGKILL)
		require.Equal(t, -1, p.wait(), "killed, not ended")
	}
	upTo <- n
	close(upTo)
	require.NoError(t, receive(t, sent))
	last := start()

	// Dead letters are counted by their numbers: of those that a killed worker was about to ack, there are two.
	foreign := b.peer()
	dead, wrong := map[int]int{}, []string{}
	collect := func() bool {
		for {
			d, ok, err := foreign.Get("a.do.dlq", true)
			if err != nil || !ok {
				return len(dead) == n/10
			}
			v, err := do.Decode(d.Body)
			if err != nil || d.Headers["leveret-attempts"] != int64(2) {
				wrong = append(wrong, fmt.Sprintf("%q: %v", d.Body, d.Headers))
			}
			dead[v.N]++
		}
	}
	b.eventually(func() bool { return len(written()) == n-n/10 && collect() }, "every effect, and every dead letter")
	b.eventually(func() bool { return foreign.count("a.do") == 0 && foreign.count("retry.50ms") == 0 })
	last.signal(syscall.SIGKILL)
	last.wait()
	collect()
	require.Empty(t, wrong, "each after its attempts, not by the broker")

	again := 0
	for i := range n {
		if i%10 == 3 {
			require.GreaterOrEqual(t, dead[i], 1, "%d is lost", i)
			again += dead[i] - 1
		} else {
			require.Zero(t, dead[i])
		}
	}
	for _, times := range written() {
		again += times - 1
	}
	t.Logf("%d messages, %d kills: %d effects or dead letters more than once", n, kills, again)
	require.Less(t, again, kills*200, "what came again is what was in the dead workers' hands")
	require.Zero(t, foreign.count("retry.lost"))
}
