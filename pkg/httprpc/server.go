package httprpc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// DefaultMaxBody is the size in bytes over which a body is refused, unless configured otherwise.
const DefaultMaxBody = 1 << 20

// ServerConfig says how requests are served. The zero value of a field is its default.
type ServerConfig struct {
	// Title and Version are those of the OpenAPI document. Default the service's name, and "0".
	Title, Version string
	// Routes refine how requests are served. Every request that the service answers is served, with or without one.
	Routes []Route
	// Strict refuses a body with a field that the payload does not have. Default: it is ignored, since a caller may be
	// newer; set it at the edge, where it is more likely a mistake.
	Strict bool
	// Bearer says in the OpenAPI document that routes that are not Public need a bearer token. Checking it is left to
	// middleware around the server.
	Bearer bool
	// MaxBody is the size in bytes over which a body is refused. Default [DefaultMaxBody].
	MaxBody int64
	// Instance names this process in Leveret-Answered-By, after the service's name and an @. Default the host and the
	// process id.
	Instance string
	// Logger logs replies that could not be written, at the level debug. Default slog.Default().
	Logger *slog.Logger
	// TracerProvider and MeterProvider are OpenTelemetry's. Default: no spans and no metrics. A trace that comes in is
	// handed on in any case.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// A Server serves the requests of handlers over HTTP. It is an http.Handler, to be put into an http.Server, on its own
// or below middleware. Beside the requests it serves GET /openapi.json. It is safe for concurrent use.
type Server struct {
	handlers   *leveret.Handlers
	config     ServerConfig
	answeredBy string
	mux        *http.ServeMux
	root       http.Handler
	document   []byte
}

// NewServer makes a server. All that is wrong with the handlers and the routes is one error.
func NewServer(h *leveret.Handlers, config ServerConfig) (*Server, error) {
	if err := h.Err(); err != nil {
		return nil, err
	}
	service := h.Service()
	config.Title = cmp.Or(config.Title, service.Name())
	config.Version = cmp.Or(config.Version, "0")
	config.MaxBody = cmp.Or(config.MaxBody, DefaultMaxBody)
	config.Logger = cmp.Or(config.Logger, slog.Default())
	if config.Instance == "" {
		host, _ := os.Hostname()
		config.Instance = cmp.Or(host, "localhost") + "/" + strconv.Itoa(os.Getpid())
	}
	s := &Server{handlers: h, config: config, answeredBy: rpc.EncodeText(service.Name() + "@" + config.Instance), mux: http.NewServeMux()}
	all, err := routes(service, config.Routes)
	if err != nil {
		return nil, err
	}
	errs := []error{register(s.mux, "GET /openapi.json", http.HandlerFunc(s.describe))}
	for _, rt := range all {
		errs = append(errs, register(s.mux, rt.Pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, rt) })))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if s.document, err = openAPI(config, all); err != nil {
		return nil, err
	}
	s.root = s.observed(http.HandlerFunc(s.dispatch))
	return s, nil
}

// register registers a handler, and returns why it cannot: the mux panics.
func register(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the pattern %q: %v", pattern, v)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// observed hands on the trace of a request, and makes spans and metrics where providers are configured.
func (s *Server) observed(next http.Handler) http.Handler {
	if s.config.TracerProvider == nil && s.config.MeterProvider == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(w3c.Extract(r.Context(), propagation.HeaderCarrier(r.Header))))
		})
	}
	return otelhttp.NewHandler(next, "http", otelhttp.WithPropagators(w3c),
		otelhttp.WithTracerProvider(cmp.Or[trace.TracerProvider](s.config.TracerProvider, nooptrace.NewTracerProvider())),
		otelhttp.WithMeterProvider(cmp.Or[metric.MeterProvider](s.config.MeterProvider, noopmetric.NewMeterProvider())))
}

// ServeHTTP serves one request. It returns when its handler has.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.root.ServeHTTP(w, r) }

// dispatch leads a request to its route, and answers one that has none with a problem. A path such as //orders has
// none: the mux would redirect it, and clients make a GET of a POST that is redirected.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	refuse, pattern := s.mux.Handler(r)
	unclean := !clean(r.URL.EscapedPath())
	if pattern != "" && !unclean {
		s.mux.ServeHTTP(w, r)
		return
	}
	answer := &header{header: make(http.Header)}
	refuse.ServeHTTP(answer, r) // 404, or 405 with Allow, or a redirect
	if allow := answer.header.Get("Allow"); answer.status == http.StatusMethodNotAllowed && !unclean {
		w.Header().Set("Allow", allow)
		err := leveret.Errorf(leveret.Unimplemented, "this path takes %s, not %s", allow, r.Method)
		WriteError(w, r, &statusError{err, http.StatusMethodNotAllowed})
		return
	}
	err := leveret.Errorf(leveret.NotFound, "there is nothing at this path; see /openapi.json")
	WriteError(w, r, &statusError{err, http.StatusNotFound})
}

// clean reports whether the mux takes a path as it is.
func clean(p string) bool {
	cleaned := path.Clean(p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return p == cleaned
}

// header takes the header of a response, and drops the body.
type header struct {
	header http.Header
	status int
}

func (h *header) Header() http.Header         { return h.header }
func (h *header) Write(p []byte) (int, error) { return len(p), nil }
func (h *header) WriteHeader(status int)      { h.status = status }

// serve serves a request of one route.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt *route) {
	if span := trace.SpanFromContext(r.Context()); span.IsRecording() {
		span.SetName(rt.Pattern)
	}
	w.Header().Set(rpc.AnsweredBy, s.answeredBy)
	m, err := s.message(w, r, rt)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	w.Header().Set(rpc.Conversation, rpc.EncodeText(m.ConversationID))
	if err := s.handlers.Process(r.Context(), m, nil).Err; err != nil {
		WriteError(w, r, err)
		return
	}
	s.reply(r.Context(), w, rt, m)
}

// message returns the message that a request carries.
func (s *Server) message(w http.ResponseWriter, r *http.Request, rt *route) (*leveret.Message, error) {
	arrived := time.Now()
	m, err := rpc.Read(r.Header.Get)
	if err != nil {
		return nil, err
	}
	if n := len(r.Header.Values(rpc.IdempotencyKey)); n > 1 {
		return nil, leveret.Errorf(leveret.InvalidArgument, "there are %d headers %s; send one", n, rpc.IdempotencyKey)
	}
	timeout, err := rpc.ParseTimeout(r.Header.Get(rpc.Timeout), rt.spec.Timeout)
	if err != nil {
		return nil, err
	}
	m.Contract, m.Deadline = rt.Contract, arrived.Add(timeout)
	if m.ID == "" {
		m.ID = uuid.Must(uuid.NewV7()).String()
	}
	m.ConversationID = cmp.Or(m.ConversationID, m.ID)
	m.Body, err = s.payload(w, r, rt)
	return m, err
}

var inBraces = regexp.MustCompile(`\{([A-Za-z0-9_]+)\}`)

// reply writes the answer to a request that was handled.
func (s *Server) reply(ctx context.Context, w http.ResponseWriter, rt *route, m *leveret.Message) {
	if rt.Location != "" {
		location, err := fill(rt.Location, m.Reply)
		if err != nil { // the request was handled all the same
			s.config.Logger.WarnContext(ctx, "the Location of an answer cannot be made", "contract", rt.spec.Name, "error", err)
		} else {
			w.Header().Set("Location", location)
		}
	}
	if rt.Status == http.StatusNoContent {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(rt.Status)
		return
	}
	write(w, rt.Status, contentTypeJSON, m.Reply)
}

// fill puts the fields of a reply into a path.
func fill(template string, reply []byte) (string, error) {
	var fields map[string]any
	d := json.NewDecoder(strings.NewReader(string(reply)))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return "", err
	}
	var missing string
	filled := inBraces.ReplaceAllStringFunc(template, func(match string) string {
		value, ok := fields[match[1:len(match)-1]]
		if !ok {
			missing = match
		}
		return url.PathEscape(fmt.Sprint(value))
	})
	if missing != "" {
		return "", fmt.Errorf("the reply has no %s", missing)
	}
	return filled, nil
}

// describe serves the OpenAPI document.
func (s *Server) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // it holds no secrets
	write(w, http.StatusOK, contentTypeJSON, s.document)
}
