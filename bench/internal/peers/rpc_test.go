package peers_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/pkg/measure"
)

// direct returns a caller of a peer without a broker, whose other side answers in this process.
func direct(tb testing.TB, name string, answer peers.Responder) peers.Caller {
	tb.Helper()
	p, ok := peers.Find(name)
	require.True(tb, ok)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	s := peers.Setting{Address: l.Addr().String(), Queue: "bench.work"}
	require.NoError(tb, l.Close())
	ctx, stop := context.WithCancel(tb.Context())
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- p.Serve(ctx, s, func() { close(ready) }, answer) }()
	select {
	case <-ready:
	case err := <-served:
		require.NoError(tb, err)
	}
	caller, err := p.Caller(tb.Context(), s)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, caller.Close(context.WithoutCancel(tb.Context())))
		stop()
		require.NoError(tb, <-served)
	})
	return caller
}

func echo(_ context.Context, p *peers.Payload) (*peers.Payload, error) { return p, nil }

// Every peer without a broker answers with the payload, passes the deadline on, and survives a panic.
func TestDirectPeers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{peers.RawHTTP, peers.LeveretHTTP, peers.RawGRPC, peers.LeveretGRPC} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deadlines := make(chan bool, 3)
			c := direct(t, name, func(ctx context.Context, p *peers.Payload) (*peers.Payload, error) {
				_, ok := ctx.Deadline()
				deadlines <- ok
				if p.ID == "panic" {
					panic("as asked")
				}
				return p, nil
			})
			sent := peers.Payloads(16 << 10)(7)
			got, err := c.Call(t.Context(), sent)
			require.NoError(t, err)
			require.Equal(t, sent, got)
			_, err = c.Call(t.Context(), &peers.Payload{ID: "panic"})
			require.ErrorContains(t, err, "panicked")
			got, err = c.Call(t.Context(), sent)
			require.NoError(t, err)
			require.Equal(t, sent, got)
			for range 3 {
				require.True(t, <-deadlines)
			}
		})
	}
}

// What a call costs both sides together, with 16 in flight.
func BenchmarkDirect(b *testing.B) {
	for _, name := range []string{peers.RawHTTP, peers.LeveretHTTP, peers.RawGRPC, peers.LeveretGRPC} {
		b.Run(strings.ReplaceAll(name, "-", "_"), func(b *testing.B) {
			c := direct(b, name, echo)
			payload := peers.Payloads(256)(1)
			b.ReportAllocs()
			b.SetParallelism(8)
			before, _ := measure.CPU()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Call(context.Background(), payload); err != nil {
						b.Error(err)
					}
				}
			})
			after, _ := measure.CPU()
			b.ReportMetric(float64((after-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}
