package deadletter_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/internal/contexts"
)

// A method of AMQP, by its class and its number in it.
type method struct{ class, number uint16 }

// Wherever a replay is interrupted, while the broker answers any of its calls, it ends, and nothing is lost.
func TestReplayInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]method{
		"channel.open": {20, 10}, "queue.declare": {50, 10}, "basic.qos": {60, 10}, "basic.consume": {60, 20}, "basic.cancel": {60, 30},
		"basic.get": {60, 70}, "basic.publish": {60, 40}, "basic.ack": {60, 80}, "basic.nack": {60, 120}, "channel.close": {20, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for nth := range int64(3) {
				for _, paced := range []bool{false, true} {
					b.interrupted(asked, nth+1, paced)
				}
			}
		})
	}
}

// interrupted runs a replay that is interrupted just before the broker gets that method for the nth time.
func (b *bench) interrupted(asked method, nth int64, paced bool) {
	b.t.Helper()
	const n = 20
	b.bury(queue, n, nil)
	ctrlC := errors.New("Ctrl-C")
	ctx, interrupt := context.WithCancelCause(b.ctx)
	defer interrupt(nil)
	var armed atomic.Bool
	var seen atomic.Int64
	store := deadletter.New(b.dial(watched(b.t, b.url, func(got method) {
		if armed.Load() && got == asked && seen.Add(1) == nth {
			interrupt(ctrlC)
			contexts.Sleep(b.ctx, 5*time.Millisecond) // it is answered a moment later
		}
	})))
	armed.Store(true)
	r := deadletter.Replay{Select: func(l *deadletter.Letter) bool { return l.ID != id(2) }}
	if paced {
		r.Wait = func(ctx context.Context) error { return ctx.Err() }
	}
	result, err := store.Replay(ctx, store.DeadLetters(queue), r)
	about := fmt.Sprintf("%d. %v, paced %v: %+v, %v", nth, asked, paced, result, err)
	require.NoError(b.t, b.ctx.Err(), about)
	if err != nil {
		require.ErrorIs(b.t, err, ctrlC, about)
	}
	if nth == 1 {
		require.Positive(b.t, seen.Load(), about)
	}
	back, left := map[string]bool{}, map[string]bool{}
	require.Eventually(b.t, func() bool {
		for name, found := range map[string]map[string]bool{queue: back, names.DeadLetterQueue(queue): left} {
			for _, d := range b.take(name) {
				found[d.MessageId] = true
			}
		}
		both := len(back) + len(left) - n
		return both >= 0 && both <= result.Unsure && len(back) >= result.Replayed && len(back) <= result.Replayed+result.Unsure
	}, patience, 10*time.Millisecond, "%s; %d back and %d left", about, len(back), len(left))
}

// watched returns a way to the broker on which seen is called with each method of a client before the broker gets it.
func watched(tb testing.TB, address string, seen func(method)) string {
	tb.Helper()
	u, err := url.Parse(address)
	require.NoError(tb, err)
	broker := u.Host
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	var running sync.WaitGroup
	tb.Cleanup(running.Wait)
	tb.Cleanup(func() { require.NoError(tb, listener.Close()) })
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(tb.Context(), "tcp", broker)
			if err != nil {
				_ = client.Close()
				continue
			}
			running.Go(func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			})
			running.Go(func() {
				_ = frames(server, client, seen)
				_ = server.Close()
			})
		}
	})
	u.Host = listener.Addr().String()
	return u.String()
}

// frames copies what a client sends to the broker, frame by frame.
func frames(to io.Writer, from io.Reader, seen func(method)) error {
	in := bufio.NewReader(from)
	if _, err := io.CopyN(to, in, 8); err != nil { // the protocol header
		return fmt.Errorf("the protocol header: %w", err)
	}
	for {
		head, err := in.Peek(7)
		if err != nil {
			return fmt.Errorf("the head of a frame: %w", err)
		}
		size := 7 + int(binary.BigEndian.Uint32(head[3:])) + 1
		frame := make([]byte, size)
		if _, err := io.ReadFull(in, frame); err != nil {
			return fmt.Errorf("a frame: %w", err)
		}
		if frame[0] == 1 {
			seen(method{binary.BigEndian.Uint16(frame[7:]), binary.BigEndian.Uint16(frame[9:])})
		}
		if _, err := to.Write(frame); err != nil {
			return fmt.Errorf("to the broker: %w", err)
		}
	}
}
