package httprpc_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// The caller and the server together keep the contract of a leveret.Caller, whatever HTTP is spoken between them.
func TestCallerIsACaller(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct{ http2, tls bool }{
		"HTTP/1.1": {}, "HTTP/1.1 over TLS": {tls: true}, "h2c": {http2: true}, "HTTP/2 over TLS": {http2: true, tls: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite := leverettest.NewSuite()
			h, err := httprpc.NewServer(suite.Handlers(), httprpc.ServerConfig{Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			server := httptest.NewUnstartedServer(h)
			server.Config.Protocols = &http.Protocols{}
			server.Config.Protocols.SetHTTP1(!way.http2)
			server.Config.Protocols.SetHTTP2(way.http2)
			server.Config.Protocols.SetUnencryptedHTTP2(way.http2)
			config := httprpc.CallerConfig{Service: suite.Client(), HTTP2: way.http2}
			if way.tls {
				server.EnableHTTP2 = way.http2
				server.StartTLS()
				config.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
				config.TLS.RootCAs.AddCert(server.Certificate())
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			config.URLs = []string{server.URL}
			caller := newCaller(t, config)
			suite.TestCaller(t, leverettest.CallerCase{Caller: caller, Disconnect: func() {
				_ = server.Config.Close()
				httprpc.CloseIdle(caller)
			}})
		})
	}
}
