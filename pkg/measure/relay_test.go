package measure_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/measure"
)

// echo answers everything twice, once all of it has come.
func echo(t *testing.T) string {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			text, _ := io.ReadAll(conn)
			_, _ = conn.Write(append(text, text...))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func dial(ctx context.Context, t *testing.T, addr string) *net.TCPConn {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

func TestRelay(t *testing.T) {
	t.Parallel()
	r, err := measure.NewRelay(t.Context(), echo(t))
	require.NoError(t, err)
	for range 2 {
		conn := dial(t.Context(), t, r.Addr())
		_, err = conn.Write([]byte("hello"))
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "hellohello", string(answer))
	}
	require.Equal(t, measure.Traffic{Connections: 2, Sent: 10, Received: 20}, r.Traffic())

	open := dial(t.Context(), t, r.Addr())
	require.NoError(t, r.Close())
	_, err = io.ReadAll(open)
	if err == nil { // closed, or reset
		_, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", r.Addr())
	}
	require.Error(t, err)
}

func TestRelayToNobody(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	r, err := measure.NewRelay(t.Context(), l.Addr().String())
	require.NoError(t, err)
	_, _ = io.ReadAll(dial(t.Context(), t, r.Addr())) // returns
	require.NoError(t, r.Close())
	require.Zero(t, r.Traffic().Sent)
}
