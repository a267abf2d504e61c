package httprpc

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
)

// A client makes requests, and closes the connections that are idle: an [http.Client], or a transport alone, which
// costs less.
type client struct {
	do        func(*http.Request) (*http.Response, error)
	closeIdle func()
}

func newClient(config CallerConfig) client {
	if config.Client == nil {
		t := newTransport(config)
		return client{observe(config, t).RoundTrip, t.CloseIdleConnections}
	}
	own := *config.Client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Transport = observe(config, cmp.Or(own.Transport, http.DefaultTransport))
	return client{own.Do, config.Client.CloseIdleConnections}
}

// observe puts OpenTelemetry around a transport, if that is wanted.
func observe(config CallerConfig, t http.RoundTripper) http.RoundTripper {
	if config.TracerProvider == nil && config.MeterProvider == nil {
		return t
	}
	return otelhttp.NewTransport(t, otelhttp.WithPropagators(propagation.TraceContext{}), // baggage travels with the message
		otelhttp.WithTracerProvider(cmp.Or[trace.TracerProvider](config.TracerProvider, nooptrace.NewTracerProvider())),
		otelhttp.WithMeterProvider(cmp.Or[metric.MeterProvider](config.MeterProvider, noopmetric.NewMeterProvider())),
		otelhttp.WithSpanNameFormatter(spanName))
}

func newTransport(config CallerConfig) *http.Transport {
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil || config.HTTP2 { // whose requests share a connection
				return conn, err
			}
			return &countingConn{Conn: conn}, nil
		},
		TLSHandshakeTimeout:    3 * time.Second,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        30 * time.Second, // servers commonly keep an idle connection for a minute or longer
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		Protocols:              &http.Protocols{},
	}
	if config.TLS != nil {
		t.TLSClientConfig = config.TLS.Clone()
	}
	t.Protocols.SetHTTP1(!config.HTTP2)
	t.Protocols.SetHTTP2(config.HTTP2)
	t.Protocols.SetUnencryptedHTTP2(config.HTTP2)
	return t
}

// A countingConn counts what is written to it.
type countingConn struct {
	net.Conn

	written atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// counting returns the countingConn below a connection; nil if there is none.
func counting(conn net.Conn) *countingConn {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	c, _ := conn.(*countingConn)
	return c
}
