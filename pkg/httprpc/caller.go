package httprpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// CallerConfig says whom a caller calls, and how. The zero value of a field is its default.
type CallerConfig struct {
	// Service is the service to which the caller belongs; it declares, with leveret.Calls, what may be called.
	Service *leveret.Service
	// URLs are where the other side is served: "http://127.0.0.1:8083", with a path if it is served under one. With
	// several, calls take turns; one that could not be reached, or is about to stop, is left out for a second.
	URLs []string
	// TLS is how https is spoken: trusted authorities, and a certificate of one's own. Default: the system's authorities.
	TLS *tls.Config
	// HTTP2 speaks HTTP/2 only, over http as h2c. Default: HTTP/1.1, with up to 256 idle connections to each URL.
	HTTP2 bool
	// Dial makes connections. Default: a net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Client makes the requests instead, with its own transport, which TLS, HTTP2 and Dial are not for. It follows no
	// redirects either.
	Client *http.Client
	// NoRetries makes every call a single try: nothing waits for a server that is not there, and nothing is sent twice.
	NoRetries bool
	// TracerProvider and MeterProvider are OpenTelemetry's. Default: no spans and no metrics. The trace of a message
	// travels always.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// The limits of what is sent and received, in bytes. That of a body is the same as over RabbitMQ.
const (
	maxBody    = 16 << 20
	maxProblem = 1 << 20
)

// A Caller is a [leveret.Caller] over HTTP. A request that could not be sent is sent again while its context lives; one
// that may have been handled, only if its contract is idempotent. It uses no proxy, whatever the environment says, and
// follows no redirects. It is safe for concurrent use, and meant to be shared.
type Caller struct {
	service *leveret.Service
	routes  map[leveret.Contract]*outgoing
	hosts   *hosts
	http2   bool
	client  client
	call    func(ctx context.Context, m *leveret.Message, try func(context.Context) error) error
	closed  atomic.Bool
}

// NewCaller makes a caller. It does not connect. The error joins all that is wrong. Close ends the caller.
func NewCaller(config CallerConfig) (*Caller, error) {
	if config.Service == nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "Service is nil: a caller belongs to a service, which declares what it calls")
	}
	c := &Caller{service: config.Service, routes: make(map[leveret.Contract]*outgoing), http2: config.HTTP2, call: rpc.Call}
	var err error
	c.hosts, err = newHosts(config.URLs)
	errs := []error{config.Service.Err(), err}
	for _, contract := range config.Service.Contracts(leveret.RoleCalls) {
		route, err := newOutgoing(contract.Spec(), config.HTTP2)
		if err == nil {
			route.repeatable = route.repeatable && (config.HTTP2 || !config.NoRetries)
			err = route.fix(c.hosts)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", contract.Spec().Name, err))
		}
		c.routes[contract] = route
	}
	if config.Client != nil && (config.TLS != nil || config.HTTP2 || config.Dial != nil) {
		errs = append(errs, errors.New("a Client has its own transport: TLS, HTTP2 and Dial must be left out"))
	}
	if config.NoRetries {
		c.call = rpc.Once
	}
	if err := errors.Join(errs...); err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	c.client = newClient(config)
	return c, nil
}

// Call makes a request and blocks until its end: see [leveret.Caller].
func (c *Caller) Call(ctx context.Context, m *leveret.Message) error {
	r := c.routes[m.Contract]
	if r == nil {
		return c.service.Undeclared(m.Contract, leveret.RoleCalls)
	}
	body, err := m.JSON()
	if err != nil {
		return fmt.Errorf("%s: %w", r.spec.Name, err)
	}
	if len(body) > maxBody {
		return leveret.Errorf(leveret.InvalidArgument, "%s: %w: it has %d bytes, and the limit is %d",
			r.spec.Name, leveret.ErrTooLarge, len(body), maxBody)
	}
	target, err := r.target(body)
	if err != nil {
		return fmt.Errorf("%s: %w", r.spec.Name, err)
	}
	return c.call(ctx, m, func(ctx context.Context) error {
		if c.closed.Load() {
			return leveret.Errorf(leveret.Unavailable, "%s %s: the caller is %w", r.spec.Name, m.ID, leveret.ErrClosed)
		}
		return c.try(ctx, m, r, target)
	})
}

// Close refuses further calls, and closes the connections that are idle; those of running calls, with these. It returns
// nil always.
func (c *Caller) Close() error {
	c.closed.Store(true)
	c.client.closeIdle()
	return nil
}
