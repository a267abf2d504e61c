package crossing_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// telemetry is OpenTelemetry's, which may be left out.
type telemetry struct {
	tracers trace.TracerProvider
	meters  metric.MeterProvider
}

// A stage is one set of handlers behind all transports at the same time.
type stage struct {
	broker, url, address string
	methods              []grpcrpc.Method
	tel                  telemetry
}

// newStage serves handlers until the test ends.
func newStage(t *testing.T, h *leveret.Handlers, tel telemetry, methods ...grpcrpc.Method) *stage {
	t.Helper()
	return stageAt(t, leverettest.Broker(t), h, tel, methods...)
}

func stageAt(t *testing.T, broker string, h *leveret.Handlers, tel telemetry, methods ...grpcrpc.Method) *stage {
	t.Helper()
	s := &stage{broker: broker, methods: methods, tel: tel}
	s.url = "http://" + serveHTTP(t, listen(t, ""), h, tel)
	s.address = serveGRPC(t, listen(t, ""), h, tel, methods...)
	work(t, connect(t, broker, tel), h)
	return s
}

// callers returns a caller for each transport.
func (s *stage) callers(t *testing.T, service *leveret.Service) map[string]leveret.Caller {
	t.Helper()
	return map[string]leveret.Caller{
		"HTTP/1.1": httpCaller(t, s.tel, httprpc.CallerConfig{Service: service, URLs: []string{s.url}}),
		"h2c":      httpCaller(t, s.tel, httprpc.CallerConfig{Service: service, URLs: []string{s.url}, HTTP2: true}),
		"gRPC":     grpcCaller(t, s.tel, grpcrpc.CallerConfig{Service: service, Addresses: []string{s.address}}, s.methods...),
		"AMQP":     client(t, connect(t, s.broker, s.tel), service),
	}
}

// each runs a test with a caller of each transport.
func (s *stage) each(t *testing.T, service *leveret.Service, test func(t *testing.T, transport string, c leveret.Caller)) {
	t.Helper()
	for transport, c := range s.callers(t, service) {
		t.Run(transport, func(t *testing.T) { test(t, transport, c) })
	}
}

// listen listens on an address, or, if that is empty, on a new one.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	return l
}

func serveHTTP(t *testing.T, l net.Listener, h *leveret.Handlers, tel telemetry) (address string) {
	t.Helper()
	handler, err := httprpc.NewServer(h, httprpc.ServerConfig{TracerProvider: tel.tracers, MeterProvider: tel.meters})
	require.NoError(t, err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: patience, Protocols: &http.Protocols{}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx))
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
	return l.Addr().String()
}

func serveGRPC(t *testing.T, l net.Listener, h *leveret.Handlers, tel telemetry, methods ...grpcrpc.Method) (address string) {
	t.Helper()
	server, err := grpcrpc.NewServer(h, grpcrpc.ServerConfig{TracerProvider: tel.tracers, MeterProvider: tel.meters}, methods...)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-ended)
	})
	return l.Addr().String()
}

func connect(t *testing.T, broker string, tel telemetry) *leveret.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{
		URLs: []string{broker}, TracerProvider: tel.tracers, MeterProvider: tel.meters, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	closeAtEnd(t, conn.Close)
	return conn
}

func closeAtEnd(t *testing.T, closer func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		require.NoError(t, closer(ctx))
	})
}

// work serves handlers over RabbitMQ, and returns when it does.
func work(t *testing.T, conn *leveret.Conn, h *leveret.Handlers) {
	t.Helper()
	ready := make(chan struct{})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	receive(t, ready, "the worker is not ready")
}

func httpCaller(t *testing.T, tel telemetry, config httprpc.CallerConfig) *httprpc.Caller {
	t.Helper()
	config.TracerProvider, config.MeterProvider = tel.tracers, tel.meters
	c, err := httprpc.NewCaller(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func grpcCaller(t *testing.T, tel telemetry, config grpcrpc.CallerConfig, methods ...grpcrpc.Method) *grpcrpc.Caller {
	t.Helper()
	config.TracerProvider, config.MeterProvider = tel.tracers, tel.meters
	c, err := grpcrpc.NewCaller(config, methods...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func client(t *testing.T, conn *leveret.Conn, service *leveret.Service) *leveret.Client {
	t.Helper()
	c, err := leveret.NewClient(conn, service, leveret.ClientConfig{})
	require.NoError(t, err)
	closeAtEnd(t, c.Close)
	return c
}

// receive waits for a value, or for the end of a channel.
func receive[T any](t *testing.T, from <-chan T, otherwise string) (value T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case value = <-from:
	case <-ctx.Done():
		require.FailNow(t, otherwise)
	}
	return value
}

// errorOf returns the *leveret.Error in an error.
func errorOf(t *testing.T, err error) *leveret.Error {
	t.Helper()
	e, ok := errors.AsType[*leveret.Error](err)
	require.True(t, ok, "%v", err)
	return e
}
