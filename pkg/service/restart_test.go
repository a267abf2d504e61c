package service_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/leveretmq/leveret/pkg/devcerts"
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
)

// A request that is not idempotent, so that nothing may send it twice, and the services on its two sides.
var (
	count   = leveret.NewRequest[unit, unit]("counter.count", leveret.Timeout(2*time.Minute))
	counter = leveret.NewService("counter", leveret.Answers(count))
	counts  = leveret.NewService("client", leveret.Calls(count))
)

// overGRPC is the request as one of gRPC's own test service.
func overGRPC() grpcrpc.Method {
	type (
		request = grpc_testing.SimpleRequest
		reply   = grpc_testing.SimpleResponse
	)
	return grpcrpc.Unary(count, grpc_testing.TestService_UnaryCall_FullMethodName,
		func(u unit) *request { return &request{ResponseSize: int32(u.N)} },
		func(r *request) unit { return unit{int(r.GetResponseSize())} },
		func(u unit) *reply { return &reply{Username: strconv.Itoa(u.N)} },
		func(r *reply) unit { n, _ := strconv.Atoi(r.GetUsername()); return unit{n} })
}

// A pair is two servers of the request.
type pair struct {
	settings map[string]string
	address  [2]string
	running  [2]*running
	handled  [2]atomic.Int64
}

// start starts one of them, again and again at the same address.
func (p *pair) start(t *testing.T, i int, protocol string) {
	t.Helper()
	settings := maps.Clone(p.settings)
	settings["broker.url"], settings[protocol+".address"] = nowhere, p.address[i]
	p.running[i] = start(t, service.Program{Service: counter, Setup: func(_ context.Context, rt *service.Runtime) error {
		count.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) {
			p.handled[i].Add(1)
			return u, nil
		})
		if protocol == "grpc" {
			server, err := grpcrpc.NewServer(rt.Handlers, grpcrpc.ServerConfig{}, overGRPC())
			rt.ServeGRPC(server)
			return err
		}
		server, err := httprpc.NewServer(rt.Handlers, httprpc.ServerConfig{})
		rt.ServeHTTP(server)
		return err
	}}, settings)
	before := p.handled[i].Load()
	require.Eventually(t, func() bool { return p.handled[i].Load() > before+20 }, 2*time.Minute, time.Millisecond)
}

// While two servers are restarted in turn, a caller that never tries again is not left in doubt: either it has a reply,
// or nothing was handled. Over HTTP/1.1 that holds but for the moment in which an idle connection is closed; what is in
// doubt then is said to be.
func TestRestarts(t *testing.T) {
	t.Parallel()
	certs, err := devcerts.Make(t.TempDir(), "unit")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		protocol string
		http2    bool
		scheme   string
		settings map[string]string
	}{
		"http 1":            {"http", false, "http", nil},
		"http 1 with delay": {"http", false, "http", map[string]string{"health.drain_delay": "100ms"}},
		"http 1 and TLS":    {"http", false, "https", as(certs, "unit")},
		"http 2":            {"http", true, "http", nil},
		"http 2 and TLS":    {"http", true, "https", as(certs, "unit")},
		"grpc":              {"grpc", false, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pair{settings: c.settings, address: [2]string{freeAddress(t), freeAddress(t)}}
			if p.settings == nil {
				p.settings = map[string]string{}
			}
			var trust *tls.Config
			if c.settings["tls.ca_file"] != "" {
				trust = trusting(t, certs, "unit")
			}
			var caller leveret.Caller
			if c.protocol == "grpc" {
				own, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{Service: counts, Addresses: p.address[:], TLS: trust, NoRetries: true}, overGRPC())
				require.NoError(t, err)
				defer own.Close()
				caller = own
			} else {
				own, err := httprpc.NewCaller(httprpc.CallerConfig{
					Service: counts, URLs: []string{c.scheme + "://" + p.address[0], c.scheme + "://" + p.address[1]},
					TLS: trust, HTTP2: c.http2, NoRetries: true,
				})
				require.NoError(t, err)
				defer own.Close()
				caller = own
			}

			var answered, refused, doubts atomic.Int64
			ended := make(chan struct{})
			var clients sync.WaitGroup
			for n := range 6 {
				clients.Go(func() {
					pace := time.NewTicker(5 * time.Millisecond)
					defer pace.Stop()
					for {
						select {
						case <-ended:
							return
						case <-pace.C:
						}
						switch reply, err := count.Call(t.Context(), caller, unit{n}); {
						case err == nil && reply.N == n:
							answered.Add(1)
						case errors.Is(err, leveret.ErrNotConnected):
							refused.Add(1)
						case c.protocol == "http" && !c.http2 && errors.Is(err, leveret.ErrOutcomeUnknown):
							doubts.Add(1)
						default:
							t.Errorf("in doubt: %v, %v", reply, err)
						}
					}
				})
			}
			end := sync.OnceFunc(func() { close(ended); clients.Wait() })
			defer end()
			p.start(t, 0, c.protocol)
			p.start(t, 1, c.protocol)
			for round := range 4 {
				require.Equal(t, 0, p.running[round%2].end(t))
				p.start(t, round%2, c.protocol)
			}
			end()
			t.Logf("%d answered, %d certainly not handled, %d in doubt", answered.Load(), refused.Load(), doubts.Load())
			handled := p.handled[0].Load() + p.handled[1].Load()
			require.GreaterOrEqual(t, handled, answered.Load())
			require.LessOrEqual(t, handled, answered.Load()+doubts.Load())
		})
	}
}

// trusting returns how a service with a certificate calls others.
func trusting(t *testing.T, certs *devcerts.Set, name string) *tls.Config {
	t.Helper()
	files := as(certs, name)
	pair, err := tls.LoadX509KeyPair(files["tls.cert_file"], files["tls.key_file"])
	require.NoError(t, err)
	return &tls.Config{RootCAs: authorities(t, certs), Certificates: []tls.Certificate{pair}}
}

// authorities returns those that certified the certificates of a set.
func authorities(t *testing.T, certs *devcerts.Set) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(certs.CAFile)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(pem))
	return pool
}
