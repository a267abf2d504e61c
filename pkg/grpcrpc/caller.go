package grpcrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// CallerConfig says how requests are called. The zero value of a field is its default, where it has one.
type CallerConfig struct {
	// Service is the service that calls. It says what it calls, and its name travels with each request. Required.
	Service *leveret.Service
	// Addresses are those of the servers, "host:port", between which calls are balanced; or one name of gRPC, such as
	// "dns:///payment:9083", which is looked up again whenever a connection is lost. Required.
	Addresses []string
	// TLS is used for every connection. Each server is verified by the host of its own address, unless ServerName is set.
	// Default: none; then the proxy that the environment names is not used either.
	TLS *tls.Config
	// TracerProvider and MeterProvider receive spans and measurements of OpenTelemetry's instrumentation of gRPC. Default:
	// none. The trace travels either way.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// NoRetries makes every call a single try: nothing waits for a server that is not there.
	NoRetries bool
	// Options are any others of gRPC, such as interceptors. They come last, and so win.
	Options []grpc.DialOption
}

// maxReply is the size in bytes of the largest reply, as over AMQP.
const maxReply = 16 << 20

// A Caller is a [leveret.Caller] over gRPC. It is safe for concurrent use, and meant to be shared. Close ends it.
type Caller struct {
	service string
	methods map[leveret.Contract]Method
	conn    *grpc.ClientConn
	tracing bool
	call    func(ctx context.Context, m *leveret.Message, try func(context.Context) error) error
}

// NewCaller makes a caller of the requests that methods are bound to. It does not connect: the first call does. Its
// error joins all that is wrong with the methods and the config.
func NewCaller(config CallerConfig, methods ...Method) (*Caller, error) {
	if config.Service == nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "a caller needs a service")
	}
	c := &Caller{
		service: config.Service.Name(), methods: make(map[leveret.Contract]Method), call: rpc.Call,
		tracing: telemetry{config.TracerProvider, config.MeterProvider}.wanted(),
	}
	if config.NoRetries {
		c.call = rpc.Once
	}
	errs := []error{config.Service.Err()}
	calls := config.Service.Contracts(leveret.RoleCalls)
	for _, m := range methods {
		switch {
		case m.wrong != nil:
			errs = append(errs, m.wrong)
		case m.contract == nil:
			errs = append(errs, errNoMethod)
		case !slices.Contains(calls, m.contract):
			errs = append(errs, fmt.Errorf("%s: %w", m.fullName, config.Service.Undeclared(m.contract, leveret.RoleCalls)))
		case c.methods[m.contract].contract != nil:
			errs = append(errs, fmt.Errorf("the request %q is bound twice", m.contract.Spec().Name))
		default:
			c.methods[m.contract] = m
		}
	}
	if len(methods) == 0 {
		errs = append(errs, errors.New("there are no methods: bind them with Unary"))
	}
	target, options, err := config.target()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	if c.conn, err = grpc.NewClient(target, append(options, config.options()...)...); err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	return c, nil
}

// target returns what to dial.
func (config CallerConfig) target() (string, []grpc.DialOption, error) {
	if len(config.Addresses) == 0 {
		return "", nil, errors.New("Addresses is empty")
	}
	if first := config.Addresses[0]; strings.Contains(first, "://") {
		if len(config.Addresses) > 1 {
			return "", nil, fmt.Errorf("Addresses begins with the name %q, so it must be the only one", first)
		}
		return first, nil, nil
	}
	verify := func(address string) string { return address }
	if config.TLS != nil && config.TLS.ServerName != "" {
		verify = func(string) string { return config.TLS.ServerName }
	}
	var state resolver.State
	for _, address := range config.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return "", nil, fmt.Errorf("Addresses holds %q, which is not host:port", address)
		}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{
			Addresses: []resolver.Address{{Addr: address, ServerName: verify(address)}},
		})
	}
	static := manual.NewBuilderWithScheme("leveret")
	static.InitialState(state)
	return "leveret:///" + config.Addresses[0], []grpc.DialOption{grpc.WithResolvers(static)}, nil
}

func (config CallerConfig) options() []grpc.DialOption {
	security := insecure.NewCredentials()
	if config.TLS != nil {
		security = credentials.NewTLS(config.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		// Calls are made again by package rpc, which knows when that is safe. What gRPC repeats by itself has not reached a
		// server's handlers.
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		// gRPC's own maximum of two minutes is more than a call waits.
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second, Backoff: backoff.Config{
			BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
		}}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)), grpc.WithChainUnaryInterceptor(readable),
	}
	if config.TLS == nil {
		options = append(options, grpc.WithNoProxy()) // which would read the passwords and tokens of requests
	}
	if t := (telemetry{config.TracerProvider, config.MeterProvider}); t.wanted() {
		options = append(options, grpc.WithStatsHandler(t.client()))
	}
	return append(options, config.Options...)
}

// Close closes the connections. A call that has not ended is a leveret.ErrOutcomeUnknown, and later ones are
// leveret.ErrClosed.
func (c *Caller) Close() error { return c.conn.Close() }

// Call makes a request and blocks until its end, as a [leveret.Client] does over RabbitMQ: see [leveret.Caller]. It
// waits for a server while there is none. An idempotent request whose connection was lost is made again.
func (c *Caller) Call(ctx context.Context, m *leveret.Message) error {
	method := c.methods[m.Contract]
	if method.contract == nil {
		name := "a message without a contract"
		if m.Contract != nil {
			name = m.Contract.Spec().Name
		}
		return leveret.Errorf(leveret.FailedPrecondition, "%w: the gRPC caller of %q has no method for %s",
			leveret.ErrUndeclared, c.service, name)
	}
	if c.tracing {
		ctx = rpc.InItsTrace(ctx, m)
	}
	ctx, err := outgoing(ctx, m, c.service)
	if err != nil {
		return err
	}
	return c.call(ctx, m, func(ctx context.Context) error { return c.try(ctx, method, m) })
}

// try makes one try of a call.
func (c *Caller) try(ctx context.Context, method Method, m *leveret.Message) error {
	var server peer.Peer
	var trailer metadata.MD
	err := method.call(ctx, c.conn, m, grpc.Peer(&server), grpc.Trailer(&trailer))
	by := trailer[nameIn(rpc.AnsweredBy)]
	switch {
	case len(by) > 0:
		m.AnsweredBy, _ = rpc.DecodeText(by[0]) // what cannot be read names nobody
	case err == nil && server.Addr != nil: // an interceptor may have answered
		m.AnsweredBy = method.contract.Spec().Owner() + "@" + server.Addr.String()
	}
	s, ok := status.FromError(err)
	switch {
	case err == nil || !ok: // not gRPC's, but why a payload could not be converted
		return err
	case server.Addr == nil:
		return unsent(ctx, s)
	case answered(s, trailer):
		return problemOf(s, len(by) > 0)
	default:
		return lost(s, server.Addr)
	}
}

// unsent is the error of a try that has reached no server.
func unsent(ctx context.Context, s *status.Status) error {
	switch {
	case s.Code() == codes.Unavailable || ctx.Err() != nil:
		return leveret.Errorf(leveret.Unavailable, "%w", &rpc.KindError{
			Kind: leveret.ErrNotConnected, Text: "not connected over gRPC: " + s.Message(),
		})
	case s.Code() == codes.Canceled:
		return leveret.Errorf(leveret.Unavailable, "%w: %s", leveret.ErrClosed, s.Message())
	default: // gRPC refuses the metadata, for instance
		return leveret.Errorf(leveret.Code(s.Code()), "%s", s.Message())
	}
}

// lost is the error of a try that was sent and got no answer.
func lost(s *status.Status, server net.Addr) error {
	code := leveret.Unavailable
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.ResourceExhausted: // the context ended, or the reply is too large
		code = leveret.Code(s.Code())
	default:
	}
	return leveret.Errorf(code, "%w: no answer from %s: %s", leveret.ErrOutcomeUnknown, server, s.Message())
}
