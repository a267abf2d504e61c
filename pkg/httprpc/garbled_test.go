package httprpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A TLS server may give up a connection after it has handled the request, and says so in the same way as when it refuses
// a certificate: here because what it receives is garbled. That request is not sent again.
func TestGarbledConnection(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	var handled atomic.Int64
	garble := make(chan struct{})
	s.do = func(ctx context.Context) error {
		if handled.Add(1) == 1 {
			close(garble)
			<-ctx.Done()
		}
		return ctx.Err()
	}
	h, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)

	way, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for first := true; ; first = false {
			client, err := way.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				return
			}
			all.Go(func() { _, _ = io.Copy(client, behind); client.Close() })
			all.Go(func() { _, _ = io.Copy(behind, client); behind.Close() })
			all.Go(func() {
				if !first {
					return
				}
				<-garble
				_, _ = behind.Write(append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...)) // a record that no key fits
			})
		}
	})
	t.Cleanup(func() { require.NoError(t, way.Close()); server.CloseClientConnections(); all.Wait() })
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	caller := newCaller(t, httprpc.CallerConfig{
		Service: s.caller, URLs: []string{"https://" + way.Addr().String()}, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
	})
	_, err = s.place.Call(t.Context(), caller, cart{})
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.EqualValues(t, 1, handled.Load())
}
