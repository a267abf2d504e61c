//go:build unix

package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
)

// The environment of a process that is a relay and nothing else.
const relayDatabase, relayBroker = "OUTBOX_TEST_DATABASE", "OUTBOX_TEST_BROKER"

func TestMain(m *testing.M) {
	if source := os.Getenv(relayDatabase); source != "" {
		if err := relayProcess(source, os.Getenv(relayBroker)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testmain.Leaks(m)
}

// shortLease is that of the relays which tests kill.
const shortLease = time.Second

// relayProcess is a relay until its standard input ends.
func relayProcess(source, address string) error {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	db, err := open(source)
	if err != nil {
		return err
	}
	o, err := outbox.New(ctx, outbox.Config{DB: db, Lease: shortLease})
	if err != nil {
		return err
	}
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{address}})
	if err != nil {
		return err
	}
	client, err := leveret.NewClient(conn, order, leveret.ClientConfig{})
	if err != nil {
		return err
	}
	return o.Relay(ctx, order, client)
}

// A relayer is a relay in a process of its own.
type relayer struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

func startRelayer(t *testing.T, source, address string) *relayer {
	t.Helper()
	p := &relayer{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), relayDatabase+"="+source, relayBroker+"="+address)
	if testing.Verbose() {
		p.cmd.Stderr = os.Stderr
	}
	in, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	p.stdin = in
	require.NoError(t, p.cmd.Start())
	return p
}

func (p *relayer) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait() // it was killed
}

// Two relays that are killed, or stopped for longer than their lease, again and again: nothing is lost, nothing arrives that
// was rolled back, and what has a key arrives in its order.
func TestKilledRelays(t *testing.T) {
	t.Parallel()
	const n, keys, faults = 3000, 30, 12
	ctx := t.Context()
	address := leverettest.Broker(t)
	source := newSource(t)
	db := opened(t, source)
	o := made(t, outbox.Config{DB: db})

	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{address}})
	require.NoError(t, err)
	b := newBook()
	desk := leveret.NewService("desk", leveret.SubscribesTo(placed))
	h := leveret.NewHandlers(desk, leveret.HandlersConfig{})
	placed.Subscribe(h, func(ctx context.Context, _ numbered) error { return b.Send(ctx, leveret.MessageFrom(ctx)) })
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{Concurrency: 1})
	require.NoError(t, err)
	working, stop := context.WithCancel(ctx)
	worked := make(chan error, 1)
	go func() { worked <- w.Run(working) }()
	defer func() {
		stop()
		require.NoError(t, <-worked)
		require.NoError(t, conn.Close(context.WithoutCancel(ctx)))
	}()
	require.Eventually(t, func() bool { return w.Ready() == nil }, 2*time.Minute, time.Millisecond)

	var left atomic.Int64
	left.Store(faults)
	finished := make(chan struct{})
	var breaking sync.WaitGroup
	defer breaking.Wait()
	for range 2 {
		breaking.Go(func() {
			p := startRelayer(t, source, address)
			defer func() { p.kill() }()
			for {
				select {
				case <-time.After(rand.N(2 * time.Second)):
				case <-finished:
					return
				}
				switch fault := left.Add(-1); {
				case fault < 0:
					<-finished
					return
				case fault%4 == 0:
					_ = p.cmd.Process.Signal(syscall.SIGSTOP)
					<-time.After(2 * shortLease)
					_ = p.cmd.Process.Signal(syscall.SIGCONT)
				default:
					p.kill()
					p = startRelayer(t, source, address)
				}
			}
		})
	}

	want := map[string][]int{}
	for i := range n {
		key := fmt.Sprint(i % keys)
		err := o.InTx(ctx, func(tx *sql.Tx) error {
			if err := placed.Publish(ctx, outbox.In(tx), numbered{key, i}); err != nil || i%10 != 0 {
				return err
			}
			return errRolledBack
		})
		if i%10 == 0 {
			require.ErrorIs(t, err, errRolledBack)
			continue
		}
		require.NoError(t, err)
		want[key] = append(want[key], i)
	}
	require.Eventually(t, func() bool { return left.Load() < 0 && rows(t, db) == 0 }, 5*time.Minute, 10*time.Millisecond)
	close(finished)
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.ids) == n*9/10
	}, 2*time.Minute, 10*time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Equal(t, want, b.got)
	t.Logf("%d messages arrived, %d of them again", len(b.ids), b.all.Load()-int64(len(b.ids)))
}

var errRolledBack = fmt.Errorf("rolled back")
