package gateway_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/pkg/stream"
	"github.com/leveretmq/leveret/queues"
)

// The environment that makes of this test binary a process with a projection that is to be killed: its name, the broker's
// address, the source of its store, and whether it stops in the middle of each effect until it is told to go on.
const (
	asProjection = "LEVERET_TEST_PROJECTION"
	atBroker     = "LEVERET_TEST_PROJECTION_BROKER"
	inStore      = "LEVERET_TEST_PROJECTION_STORE"
	asked        = "LEVERET_TEST_PROJECTION_ASKED"
)

// chained is a table in which each event changes everything that comes after it: one that is applied twice, left out, or
// applied in another order is seen at the end.
const chained = `-- +goose Up
CREATE TABLE chains (projection TEXT NOT NULL, stream TEXT NOT NULL, n BIGINT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (projection, stream));
`

func openChains(ctx context.Context, source string) (*store.Store, error) {
	file := &fstest.MapFile{Data: []byte(chained)}
	return store.Open(ctx, source, fstest.MapFS{"migrations/sqlite/00001_chains.sql": file, "migrations/postgres/00001_chains.sql": file})
}

// chain adds a link.
func chain(ctx context.Context, tx *sql.Tx, projection, of, id string) error {
	var n int
	var digest string
	err := tx.QueryRowContext(ctx, "SELECT n, digest FROM chains WHERE projection = $1 AND stream = $2", projection, of).Scan(&n, &digest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	sum := sha256.Sum256([]byte(digest + id))
	_, err = tx.ExecContext(ctx, `INSERT INTO chains (projection, stream, n, digest) VALUES ($1, $2, $3, $4)
		ON CONFLICT (projection, stream) DO UPDATE SET n = excluded.n, digest = excluded.digest`, projection, of, n+1, hex.EncodeToString(sum[:]))
	return err
}

// newChains makes a projection of two streams. It says when it is in the middle of an effect.
func newChains(conn *leveret.Conn, s *store.Store, name string, middle func()) *stream.Projection {
	p := stream.NewProjection(conn, queues.Gateway, stream.ProjectionConfig{
		Name: name, From: stream.First(), InTx: s.InTx, Logger: slog.New(slog.DiscardHandler),
		Empty: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM chains WHERE projection = $1", name)
			return err
		},
	})
	stream.On(p, queues.OrderPlaced, func(ctx context.Context, tx *sql.Tx, e stream.EventOf[queues.OrderPlacedEvent]) error {
		defer middle()
		return chain(ctx, tx, name, "placed", e.ID)
	})
	stream.On(p, queues.OrderConfirmed, func(ctx context.Context, tx *sql.Tx, e stream.EventOf[queues.OrderConfirmedEvent]) error {
		defer middle()
		return chain(ctx, tx, name, "confirmed", e.ID)
	})
	return p
}

// project is the process that is killed.
func project() int {
	goOn := make(chan struct{})
	go func() {
		for told := make([]byte, 1); ; {
			if _, err := io.ReadFull(os.Stdin, told); err != nil {
				os.Exit(1) // the test is gone
			}
			goOn <- struct{}{}
		}
	}()
	err := func() error {
		ctx := context.Background()
		conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{os.Getenv(atBroker)}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		s, err := openChains(ctx, os.Getenv(inStore))
		if err != nil {
			return err
		}
		return newChains(conn, s, os.Getenv(asProjection), func() {
			fmt.Println("middle")
			if os.Getenv(asked) != "" {
				<-goOn
			}
		}).Run(ctx)
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// victim is such a process.
type victim struct {
	t       *testing.T
	cmd     *exec.Cmd
	stdin   io.Writer
	middles chan struct{} // one for each effect; closed at its end
}

func launch(t *testing.T, name, broker, source string, env ...string) *victim {
	t.Helper()
	v := &victim{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0]), middles: make(chan struct{}, 10_000)}
	v.cmd.Env = append(append(os.Environ(), asProjection+"="+name, atBroker+"="+broker, inStore+"="+source), env...)
	v.cmd.Stderr = os.Stderr
	var err error
	v.stdin, err = v.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := v.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, v.cmd.Start())
	go func() {
		defer close(v.middles)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			v.middles <- struct{}{}
		}
	}()
	t.Cleanup(v.kill)
	return v
}

// stop lets the process stop in the middle of its n-th effect.
func (v *victim) stop(n int) {
	v.t.Helper()
	never := func() bool { return false }
	for ; n > 1; n-- {
		v.await(1, never)
		_, err := v.stdin.Write([]byte{1})
		require.NoError(v.t, err)
	}
	v.await(1, never)
}

// await waits until the process has said that it is in the middle of its n-th effect, or until enough says that there is
// nothing more to come.
func (v *victim) await(n int, enough func() bool) {
	v.t.Helper()
	tick, late := time.NewTicker(20*time.Millisecond), time.NewTimer(patience)
	defer tick.Stop()
	defer late.Stop()
	for n > 0 {
		select {
		case _, ok := <-v.middles:
			require.True(v.t, ok, "the process has ended by itself")
			n--
		case <-tick.C:
			if enough() {
				return
			}
		case <-late.C:
			require.Fail(v.t, "it does nothing")
		}
	}
}

func (v *victim) kill() {
	if v.cmd.ProcessState == nil {
		_ = v.cmd.Process.Kill() // SIGKILL
		for range v.middles {
		}
		_ = v.cmd.Wait()
	}
}

// A projection that is killed again and again ends up as one that was not, also when it is rebuilt meanwhile, and when two
// processes build it.
func TestProjectionUnderKills(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ processes, rebuilds int }{
		"one": {1, 0}, "one-rebuilt": {1, 3}, "two-rebuilt": {2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const lives, each = 24, 15
			broker, source := leverettest.Broker(t), shoptest.Source(t, "chains")
			conn, client := connect(t, broker)
			s, err := openChains(t.Context(), source)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			links := func(projection string) map[string]string {
				found := map[string]string{}
				for _, of := range []string{"placed", "confirmed"} {
					var n int
					var digest string
					err := s.Reader().QueryRowContext(t.Context(), "SELECT n, digest FROM chains WHERE projection = $1 AND stream = $2", projection, of).Scan(&n, &digest)
					if !errors.Is(err, sql.ErrNoRows) {
						require.NoError(t, err)
					}
					found[of] = fmt.Sprintf("%d %s", n, digest)
				}
				return found
			}
			published := 0
			applied := func() int {
				var n sql.NullInt64
				require.NoError(t, s.Reader().QueryRowContext(t.Context(), "SELECT sum(n) FROM chains WHERE projection = $1", name).Scan(&n))
				return int(n.Int64)
			}
			publish := func() {
				for range 1 + rand.IntN(each) {
					id := uuid.NewString()
					require.NoError(t, queues.OrderPlaced.Publish(t.Context(), client, placedEvent(id, "customer-7", time.Now())))
					require.NoError(t, queues.OrderConfirmed.Publish(t.Context(), client,
						queues.OrderConfirmedEvent{OrderID: id, Total: queues.Money{Amount: 1998, Currency: "EUR"}, ConfirmedAt: time.Now()}))
					published += 2
				}
			}
			rebuilding := newChains(conn, s, name, func() {})
			kills := 0
			for life := range lives {
				publish()
				var running []*victim
				start := func(env ...string) {
					running = append(running, launch(t, name, broker, source, env...))
				}
				after := 1 + rand.IntN(max(published-applied(), 1))
				if life%2 == 0 { // the kill is inside a transaction
					start(asked + "=yes")
					running[0].stop(after)
				}
				for len(running) < test.processes {
					start()
				}
				if life%2 == 1 { // it is anywhere
					running[0].await(after, func() bool { return applied() >= published })
				}
				if test.rebuilds > 0 && life%(lives/test.rebuilds) == 5 {
					require.NoError(t, rebuilding.Rebuild(t.Context()))
				}
				for _, v := range running {
					v.kill()
					kills++
				}
			}
			publish()
			for range test.processes {
				launch(t, name, broker, source)
			}
			require.Eventually(t, func() bool { return applied() >= published }, patience, 20*time.Millisecond)

			calm := newChains(conn, s, "calm", func() {})
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- calm.Run(ctx) }()
			require.Eventually(t, func() bool { return links("calm")["placed"] == links(name)["placed"] }, patience, 20*time.Millisecond)
			require.Eventually(t, func() bool { return links("calm")["confirmed"] == links(name)["confirmed"] }, patience, 20*time.Millisecond)
			end()
			require.NoError(t, <-ended)
			t.Logf("%d events, %d kills, %d of them inside a transaction for certain", published, kills, lives/2)
		})
	}
}
