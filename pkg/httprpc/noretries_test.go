package httprpc_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Without retries, a call is one try, whatever becomes of it.
func TestNoRetries(t *testing.T) {
	t.Parallel()
	ask := leveret.NewRequest[struct{}, struct{}]("nobody.ask", leveret.Idempotent(), leveret.Timeout(time.Minute))
	for name, test := range map[string]struct {
		connect bool
		want    error
	}{
		"nobody there":   {connect: false, want: leveret.ErrNotConnected},
		"nobody answers": {connect: true, want: leveret.ErrOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			accepting := make(chan struct{})
			go func() {
				defer close(accepting)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Read(make([]byte, 1))
					_ = conn.Close()
				}
			}()
			t.Cleanup(func() {
				_ = l.Close()
				<-accepting
			})
			if !test.connect {
				require.NoError(t, l.Close())
			}
			var dialed atomic.Int64
			caller, err := httprpc.NewCaller(httprpc.CallerConfig{
				Service: leveret.NewService("test", leveret.Calls(ask)), URLs: []string{"http://" + l.Addr().String()}, NoRetries: true,
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					dialed.Add(1)
					return (&net.Dialer{}).DialContext(ctx, network, address)
				},
			})
			require.NoError(t, err)
			t.Cleanup(func() { _ = caller.Close() })
			_, err = ask.Call(t.Context(), caller, struct{}{})
			require.ErrorIs(t, err, test.want)
			require.EqualValues(t, 1, dialed.Load())
		})
	}
}
