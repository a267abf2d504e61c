package grpcrpc

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// ServerConfig says how requests are served. The zero value of a field is its default.
type ServerConfig struct {
	// Instance identifies the process among those of its service: errors name it to callers. Default: host and process id.
	Instance string
	// TLS is used for every connection. Default: none.
	TLS *tls.Config
	// MaxRequest is the size in bytes of the largest request; a larger one is ResourceExhausted. Default 1 MiB.
	MaxRequest int
	// MaxCalls bounds the calls that run at once on one connection; its client holds back further ones. Default 1000.
	MaxCalls uint32
	// TracerProvider and MeterProvider receive spans and measurements of OpenTelemetry's instrumentation of gRPC. Default:
	// none. The trace of the caller goes on in the handler either way.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Logger logs requests that failed on this side, and panics outside of handlers. Default slog.Default().
	Logger *slog.Logger
	// Options are any others of gRPC, such as interceptors. They come last, and so win.
	Options []grpc.ServerOption
}

// What protects a server from its clients.
const (
	maxMetadata   = 64 << 10         // bytes
	handshakeTime = 10 * time.Second // for a new connection to become a gRPC connection
	idleTime      = 15 * time.Minute // after which a connection without calls is closed
	probeTime     = time.Minute      // of silence, after which a client is asked whether it is there
	probeTimeout  = 20 * time.Second // for its answer
	minPing       = 5 * time.Second  // between two probes of a client
)

// keptGoroutines is how many goroutines wait for calls. Further calls have new ones, whose stacks have to grow first.
const keptGoroutines = 64

// A Server is a gRPC server. It also answers health checks (grpc.health.v1, for each service and for the empty name) and
// reflection.
type Server struct {
	*grpc.Server

	health   *health.Server
	watching context.Context //nolint:containedctx // of the streams that would keep GracefulStop waiting
	unwatch  context.CancelFunc
}

// NewServer makes a server of the requests that methods are bound to. Its error joins all that is wrong with the
// handlers, the methods and the config. Nothing runs until [grpc.Server.Serve], which takes the listener and blocks.
func NewServer(h *leveret.Handlers, config ServerConfig, methods ...Method) (*Server, error) {
	if err := check(h, config, methods); err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	e := &endpoint{handlers: h, logger: cmp.Or(config.Logger, slog.Default()), answeredBy: metadata.Pairs(
		nameIn(rpc.AnsweredBy), rpc.EncodeText(h.Service().Name()+"@"+cmp.Or(config.Instance, instance())))}
	s := &Server{health: health.NewServer()}
	s.watching, s.unwatch = context.WithCancel(context.Background())
	streams := []grpc.ServerOption{grpc.ChainStreamInterceptor(s.watch)}
	s.Server = grpc.NewServer(slices.Concat(config.options(), config.Options, streams)...)
	for _, d := range services(e, methods) {
		s.RegisterService(d, nil)
		s.health.SetServingStatus(d.ServiceName, healthv1.HealthCheckResponse_SERVING)
	}
	healthv1.RegisterHealthServer(s.Server, s.health)
	reflection.Register(s.Server)
	return s, nil
}

// GracefulStop reports NOT_SERVING to clients that watch the server's health, or ends their streams; refuses new
// connections and calls; and returns when the calls that run have ended. Stop ends it early.
func (s *Server) GracefulStop() {
	s.health.Shutdown()
	s.unwatch()
	s.Server.GracefulStop()
}

// Stop closes all connections, ends the contexts of the calls that run, and returns when their handlers have.
func (s *Server) Stop() {
	s.unwatch()
	s.Server.Stop()
}

// watch ends streams when the server stops. Those of Watch, of the health service, would last for ever.
func (s *Server) watch(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.watching, cancel)()
	return next(srv, watched{stream, ctx})
}

type watched struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // that is how gRPC has it
}

func (w watched) Context() context.Context { return w.ctx }

// check returns all that is wrong.
func check(h *leveret.Handlers, config ServerConfig, methods []Method) error {
	errs := []error{h.Err()}
	if config.MaxRequest < 0 {
		errs = append(errs, fmt.Errorf("MaxRequest is %d; it must be positive", config.MaxRequest))
	}
	if len(methods) == 0 {
		errs = append(errs, errors.New("there are no methods: bind them with Unary"))
	}
	bound := make(map[string]bool, len(methods))
	for _, m := range methods {
		switch {
		case m.wrong != nil:
			errs = append(errs, m.wrong)
		case m.contract == nil:
			errs = append(errs, errNoMethod)
		case bound[m.fullName]:
			errs = append(errs, fmt.Errorf("%s is bound twice", m.fullName))
		case h != nil && h.Service() != nil && !slices.Contains(h.Service().Contracts(leveret.RoleAnswers), m.contract):
			errs = append(errs, fmt.Errorf("%s: %w", m.fullName, h.Service().Undeclared(m.contract, leveret.RoleAnswers)))
		}
		bound[m.fullName] = true
	}
	return errors.Join(errs...)
}

var errNoMethod = errors.New("a method that was not made by Unary")

// services groups methods by their services.
func services(e *endpoint, methods []Method) []*grpc.ServiceDesc {
	grouped := make(map[protoreflect.FullName]*grpc.ServiceDesc)
	for _, m := range methods {
		d := grouped[m.service.FullName()]
		if d == nil {
			d = &grpc.ServiceDesc{ServiceName: string(m.service.FullName()), Metadata: m.service.ParentFile().Path()}
			grouped[m.service.FullName()] = d
		}
		name := m.fullName[len(d.ServiceName)+2:]
		d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: name, Handler: m.serve(e)})
	}
	return slices.Collect(maps.Values(grouped))
}

func (config ServerConfig) options() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(cmp.Or(config.MaxRequest, 1<<20)),
		grpc.MaxConcurrentStreams(cmp.Or(config.MaxCalls, 1000)),
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTime, Time: probeTime, Timeout: probeTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(keptGoroutines),
	}
	if config.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config.TLS)))
	}
	if t := (telemetry{config.TracerProvider, config.MeterProvider}); t.wanted() {
		options = append(options, grpc.StatsHandler(t.server()))
	}
	return options
}

// instance names this process.
func instance() string {
	host, _ := os.Hostname() // where that fails there is a name all the same
	return wire.Cut(cmp.Or(host, "localhost"), 80) + "/" + strconv.Itoa(os.Getpid())
}
