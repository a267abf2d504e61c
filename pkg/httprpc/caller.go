package httprpc

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// CallerConfig says how requests are made. The zero value of a field is its default.
type CallerConfig struct {
	// Service is whose requests these are. It must declare that it calls them. Required.
	Service *leveret.Service
	// URLs are where the other side listens: "http://payment:8083". Several are called in turn; one that cannot be
	// reached is left out for a second. Required.
	URLs []string
	// HTTP2 makes the requests over HTTP/2, also without TLS (h2c). Default HTTP/1.1, with a connection for each request
	// that is in flight.
	HTTP2 bool
	// TLS is for URLs that begin with https. Default: the system's authorities, and no certificate.
	TLS *tls.Config
	// MaxIdle is how many connections to one address are kept open between requests. Default 256.
	MaxIdle int
	// NoRetries makes every call a single try: nothing waits for a server that is not there, and nothing is sent twice.
	NoRetries bool
	// Dial makes a connection. Default that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TracerProvider and MeterProvider are OpenTelemetry's. Default: no spans and no metrics. The trace of the context
	// travels in any case.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// A Caller makes requests over HTTP. It implements [leveret.Caller], and keeps its contract as a client does: while the
// context lives, it tries again where nothing was sent, and where the contract is idempotent, after a lost connection,
// too. It takes no proxy from the environment and follows no redirect. It is safe for concurrent use.
type Caller struct {
	service   *leveret.Service
	patterns  map[leveret.Contract]*pattern
	targets   []*target
	next      atomic.Uint32
	client    *http.Client
	transport *http.Transport
	noRetries bool
}

// target is one address of the other side.
type target struct {
	url   *url.URL
	avoid atomic.Int64 // until this time, in Unix nanoseconds
}

// avoidFor is how long an address that could not be reached is left out.
const avoidFor = time.Second

// maxReply is the size in bytes over which a reply is refused, as over RabbitMQ.
const maxReply = 16 << 20

// NewCaller makes a caller. It does not block. All that is wrong with the configuration is one error. Close ends the
// caller's connections.
func NewCaller(config CallerConfig) (*Caller, error) {
	if config.Service == nil {
		return nil, errors.New("httprpc: Service is required")
	}
	errs := []error{config.Service.Err()}
	c := &Caller{service: config.Service, patterns: make(map[leveret.Contract]*pattern), noRetries: config.NoRetries}
	for _, contract := range config.Service.Contracts(leveret.RoleCalls) {
		spec := contract.Spec()
		p, err := parsePattern(spec.HTTP, spec.Payload)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", spec.Name, err))
		}
		c.patterns[contract] = p
	}
	for _, raw := range config.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			errs = append(errs, fmt.Errorf("URLs has %q; it must look like http://host:port", raw))
			continue
		}
		c.targets = append(c.targets, &target{url: u})
	}
	if len(config.URLs) == 0 {
		errs = append(errs, errors.New("URLs is empty; name at least one address"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("httprpc: %w", err)
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!config.HTTP2)
	protocols.SetHTTP2(config.HTTP2)
	protocols.SetUnencryptedHTTP2(config.HTTP2)
	c.transport = &http.Transport{
		MaxIdleConnsPerHost: cmp.Or(config.MaxIdle, 256), IdleConnTimeout: 90 * time.Second, TLSClientConfig: config.TLS.Clone(),
		DialContext: config.Dial, TLSHandshakeTimeout: 10 * time.Second, DisableCompression: true, Protocols: protocols, MaxResponseHeaderBytes: 64 << 10,
	}
	var transport http.RoundTripper = c.transport
	if config.TracerProvider != nil || config.MeterProvider != nil {
		transport = otelhttp.NewTransport(transport, otelhttp.WithPropagators(w3c),
			otelhttp.WithTracerProvider(cmp.Or[trace.TracerProvider](config.TracerProvider, nooptrace.NewTracerProvider())),
			otelhttp.WithMeterProvider(cmp.Or[metric.MeterProvider](config.MeterProvider, noopmetric.NewMeterProvider())))
	}
	c.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Close closes the connections that no request uses. Requests that are under way end as they would.
func (c *Caller) Close() { c.transport.CloseIdleConnections() }

// Call makes a request: see [leveret.Caller] and [rpc.Call].
func (c *Caller) Call(ctx context.Context, m *leveret.Message) error {
	p := c.patterns[m.Contract]
	if p == nil {
		return leveret.Errorf(leveret.FailedPrecondition, "%w: the service %q does not say that it wants to call %s",
			leveret.ErrUndeclared, c.service.Name(), nameOf(m.Contract))
	}
	path, query, body, err := p.split(m.Body)
	if err != nil {
		return err
	}
	call := rpc.Call
	if c.noRetries {
		call = rpc.Once
	}
	return call(ctx, m, func(ctx context.Context) error {
		to := c.target()
		err := c.try(ctx, m, to.url.JoinPath(path), p.method, query, body)
		if errors.Is(err, leveret.ErrNotConnected) && ctx.Err() == nil {
			to.avoid.Store(time.Now().Add(avoidFor).UnixNano())
		}
		return err
	})
}

func nameOf(c leveret.Contract) string {
	if c == nil {
		return "a message without a contract"
	}
	return c.Spec().Name
}

// target returns the next address: one that is not to be avoided, if there is any.
func (c *Caller) target() *target {
	now, first := time.Now().UnixNano(), int(c.next.Add(1))
	for i := range c.targets {
		if t := c.targets[(first+i)%len(c.targets)]; t.avoid.Load() <= now {
			return t
		}
	}
	return c.targets[first%len(c.targets)]
}

// split returns the parts of a request in which a payload travels.
func (p *pattern) split(payload []byte) (path string, query url.Values, body []byte, err error) {
	if len(p.params) == 0 && !p.bodiless() {
		return p.path, nil, payload, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(payload, &fields); err != nil {
		return "", nil, nil, leveret.Errorf(leveret.InvalidArgument, "a payload that travels in the path must be an object: %w", err)
	}
	var b strings.Builder
	for _, segment := range p.segments {
		b.WriteByte('/')
		match := wildcard.FindStringSubmatch(segment)
		if match == nil {
			b.WriteString(segment)
			continue
		}
		values, err := texts(match[1], fields[match[1]])
		if err != nil {
			return "", nil, nil, err
		}
		if len(values) != 1 || values[0] == "" || values[0] == "." || values[0] == ".." {
			return "", nil, nil, wrong(match[1], "cannot be a part of the path")
		}
		b.WriteString(url.PathEscape(values[0]))
		delete(fields, match[1])
	}
	if !p.bodiless() {
		body, err := json.Marshal(fields)
		return b.String(), nil, body, err
	}
	query = make(url.Values)
	for name, value := range fields {
		values, err := texts(name, value)
		if err != nil {
			return "", nil, nil, err
		}
		if len(values) > 0 {
			query[name] = values
		}
	}
	return b.String(), query, nil, nil
}

// texts returns a value, or the values of a list, as parameters. null is none.
func texts(name string, value json.RawMessage) ([]string, error) {
	var list []json.RawMessage
	switch {
	case len(value) == 0 || bytes.Equal(value, []byte("null")):
		return nil, nil
	case value[0] == '{':
		return nil, wrong(name, "is an object, which cannot travel in the path or the query")
	case value[0] != '[':
		list = []json.RawMessage{value}
	default:
		if err := json.Unmarshal(value, &list); err != nil {
			return nil, err
		}
	}
	values := make([]string, len(list))
	for i, v := range list {
		if values[i] = string(v); v[0] == '"' {
			if err := json.Unmarshal(v, &values[i]); err != nil {
				return nil, err
			}
		} else if v[0] == '{' || v[0] == '[' || v[0] == 'n' {
			return nil, wrong(name, "cannot travel in the path or the query")
		}
	}
	return values, nil
}

// try makes a request once.
func (c *Caller) try(ctx context.Context, m *leveret.Message, to *url.URL, method string, query url.Values, body []byte) error {
	to.RawQuery = query.Encode()
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, to.String(), content)
	if err != nil {
		return leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	if (c.noRetries || !m.Contract.Spec().Idempotent) && body != nil {
		r.GetBody = nil // or net/http may send the request twice
	}
	if err := rpc.Write(m, c.service.Name(), r.Header.Set); err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", contentTypeJSON)
	}
	r.Header.Set("Accept", contentTypeJSON+", "+contentTypeProblem)
	r.Header.Set(rpc.Timeout, rpc.FormatTimeout(time.Until(m.Deadline)))
	answer, err := c.client.Do(r)
	if err != nil {
		return lost(err, written.Load())
	}
	defer answer.Body.Close()
	content2, err := io.ReadAll(io.LimitReader(answer.Body, maxReply+1))
	if err != nil {
		return lost(err, true)
	}
	return answered(m, answer, content2)
}

// lost is the error of a request that got no answer.
func lost(err error, written bool) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which may hold what others should not see
	}
	if written {
		return leveret.Errorf(leveret.Unavailable, "%w: the connection was lost after the request had been sent: %w", leveret.ErrOutcomeUnknown, err)
	}
	return leveret.Errorf(leveret.Unavailable, "%w: %w", leveret.ErrNotConnected, err)
}

// answered takes an answer: the reply, or the error of the other side.
func answered(m *leveret.Message, answer *http.Response, content []byte) error {
	m.AnsweredBy, _ = rpc.DecodeText(answer.Header.Get(rpc.AnsweredBy))
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch ok := answer.StatusCode >= 200 && answer.StatusCode <= 299; {
	case ok && len(content) > maxReply:
		return leveret.Errorf(leveret.ResourceExhausted, "the reply has more than %d bytes", maxReply)
	case ok && len(content) == 0:
		m.Reply = []byte("{}")
		return nil
	case ok:
		m.Reply = content
		return nil
	case kind == contentTypeProblem:
		return leveret.DecodeProblem(content)
	default:
		return foreign(answer)
	}
}

// foreign is the error of an answer that is no problem: of a proxy on the way, for instance.
func foreign(answer *http.Response) error {
	code, reason := leveret.Unknown, ""
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
		http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		code = leveret.InvalidArgument
	case http.StatusUnauthorized:
		code = leveret.Unauthenticated
	case http.StatusForbidden:
		code = leveret.PermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		code = leveret.Unimplemented
	case http.StatusConflict:
		code = leveret.Aborted
	case http.StatusTooManyRequests:
		code = leveret.ResourceExhausted
	case http.StatusServiceUnavailable:
		code = leveret.Unavailable
	case http.StatusBadGateway:
		code, reason = leveret.Unavailable, leveret.ReasonOutcomeUnknown
	case http.StatusGatewayTimeout:
		code, reason = leveret.DeadlineExceeded, leveret.ReasonOutcomeUnknown
	default:
		if answer.StatusCode >= http.StatusInternalServerError {
			reason = leveret.ReasonOutcomeUnknown
		}
	}
	problem := leveret.EncodeProblem(&leveret.Error{Code: code, Reason: reason, Message: "the answer is " + answer.Status + ", without a reason"})
	return leveret.DecodeProblem(problem)
}
