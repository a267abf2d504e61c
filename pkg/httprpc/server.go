package httprpc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// ServerConfig says how requests are served. The zero value of a field is its default.
type ServerConfig struct {
	// Title and Version name the API in its OpenAPI document. Default: the service's name, and "0".
	Title, Version string
	// Routes are what is served. Default: every request that the service answers, each under its own pattern.
	Routes []Route
	// Strict refuses a body that has fields which the payload does not have. By default they are ignored: a client may be
	// newer. Parameters that are no fields are refused always.
	Strict bool
	// MaxBody is how many bytes a body may have. Default 1 MiB.
	MaxBody int64
	// Bearer says in the OpenAPI document that routes which are not Public need a bearer token. Checking it is up to
	// middleware, around the server or around the handlers.
	Bearer bool
	// Instance is what answers carry as Leveret-Answered-By, after the service's name. Default "host/pid".
	Instance string
	// Anonymous leaves that header out. Set it where strangers are served: they have no use for hosts and processes.
	Anonymous bool
	// TracerProvider and MeterProvider are OpenTelemetry's. Default: no spans and no metrics. Incoming traces are
	// propagated always.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Logger logs requests that failed on this side, with a status from 500. Default slog.Default().
	Logger *slog.Logger
}

const (
	defaultMaxBody = 1 << 20
	documentPath   = "/openapi.json"
)

// A Server is an [http.Handler] that serves requests with the handlers of a service, and describes them in OpenAPI 3.1
// under GET /openapi.json. Unknown paths are answered with 404, known ones with another method with 405, both as
// problem details. It is safe for concurrent use.
//
// Time limits for slow clients are those of the [http.Server]: set ReadHeaderTimeout and IdleTimeout. The body of a
// request has to arrive within the request's own deadline.
type Server struct {
	handlers   *leveret.Handlers
	config     ServerConfig
	answeredBy []string       // the value of a header; nil for none
	mux        *http.ServeMux // the routes, and what answers all else
	routes     *http.ServeMux // the routes alone, which know what methods a path has
	outer      http.Handler   // mux, observed
	observed   bool
	document   []byte
}

// NewServer makes a server. The error joins all that is wrong: with the handlers, as leveret.Handlers.Err has it, and
// with each route.
func NewServer(h *leveret.Handlers, config ServerConfig) (*Server, error) {
	if err := h.Err(); err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	s := &Server{handlers: h, config: config, mux: http.NewServeMux(), routes: http.NewServeMux()}
	s.config.Title = cmp.Or(config.Title, h.Service().Name())
	s.config.Version = cmp.Or(config.Version, "0")
	s.config.MaxBody = cmp.Or(config.MaxBody, defaultMaxBody)
	s.config.Logger = cmp.Or(config.Logger, slog.Default())
	if !config.Anonymous {
		s.answeredBy = []string{rpc.EncodeText(h.Service().Name() + "@" + cmp.Or(config.Instance, instance()))}
	}
	var errs []error
	if s.config.MaxBody < 0 {
		errs = append(errs, fmt.Errorf("MaxBody is %d; it must be positive", config.MaxBody))
	}
	endpoints, err := s.endpoints()
	errs = append(errs, err, s.register("GET "+documentPath, http.HandlerFunc(s.serveDocument)))
	for _, e := range endpoints {
		errs = append(errs, s.register(e.pattern.text, e))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	s.mux.HandleFunc("/", s.serveUnknown)
	if s.document, err = s.describe(endpoints); err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%w", err)
	}
	s.observe()
	return s, nil
}

func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return host[:min(len(host), 80)] + "/" + strconv.Itoa(os.Getpid())
}

// endpoints returns what the routes lead to, in the order of their contracts' names.
func (s *Server) endpoints() (all []*endpoint, err error) {
	answered := s.handlers.Service().Contracts(leveret.RoleAnswers)
	routes := s.config.Routes
	if len(routes) == 0 {
		for _, c := range answered {
			routes = append(routes, Route{Contract: c})
		}
	}
	var errs []error
	seen := make(map[leveret.Contract]bool)
	for i, r := range routes {
		if r.Contract == nil || !slices.Contains(answered, r.Contract) {
			errs = append(errs, fmt.Errorf("route %d: the service %q does not answer %s", i, s.handlers.Service().Name(), r.name()))
			continue
		}
		if seen[r.Contract] {
			errs = append(errs, fmt.Errorf("route %d: %s has a route already", i, r.name()))
			continue
		}
		seen[r.Contract] = true
		e, err := newEndpoint(s, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("route %d: %s: %w", i, r.name(), err))
			continue
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *endpoint) int { return cmp.Compare(a.spec.Name, b.spec.Name) })
	return all, errors.Join(errs...)
}

// register adds a route. Two that no request could tell apart are an error.
func (s *Server) register(text string, h http.Handler) error {
	if err := registers(s.routes, text); err != nil {
		return err
	}
	s.mux.Handle(text, h)
	return nil
}

// observe puts OpenTelemetry around the routes, if that is wanted.
func (s *Server) observe() {
	s.outer = s.mux
	if s.config.TracerProvider == nil && s.config.MeterProvider == nil {
		return
	}
	s.observed = true
	name := s.handlers.Service().Name()
	observer := otelhttp.NewHandler(s.mux, name, otelhttp.WithPropagators(w3c{}),
		otelhttp.WithTracerProvider(cmp.Or[trace.TracerProvider](s.config.TracerProvider, nooptrace.NewTracerProvider())),
		otelhttp.WithMeterProvider(cmp.Or[metric.MeterProvider](s.config.MeterProvider, noopmetric.NewMeterProvider())),
		otelhttp.WithSpanNameFormatter(spanName))
	s.outer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { observer.ServeHTTP(w, observable(r, name)) })
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !utf8.ValidString(r.URL.Path) {
		w.Header()[rpc.AnsweredBy] = s.answeredBy
		_ = WriteProblem(w, leveret.Errorf(leveret.InvalidArgument, "the path is not UTF-8")) // it fails only where the client is gone
		return
	}
	if !clean(r.URL.EscapedPath()) { // the mux would redirect it, and clients make a GET of a POST that is redirected
		s.serveUnknown(w, r)
		return
	}
	s.outer.ServeHTTP(w, r)
}

// clean reports whether the mux takes a path as it is.
func clean(p string) bool {
	cleaned := path.Clean(p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return p == cleaned
}

// serveUnknown answers what no route matches.
func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request) {
	w.Header()[rpc.AnsweredBy] = s.answeredBy
	err := refuse(http.StatusNotFound, leveret.NotFound, "there is nothing under this path; GET %s says what there is", documentPath)
	if allow := s.allowed(r); allow != "" {
		w.Header().Set("Allow", allow)
		err = refuse(http.StatusMethodNotAllowed, leveret.Unimplemented, "this path does not have the method; it has %s", allow)
	}
	_ = WriteProblem(w, err) // it fails only where the client is gone
}

// allowed returns the methods that the path of a request has, as net/http lists them.
func (s *Server) allowed(r *http.Request) string {
	h, found := s.routes.Handler(r)
	if found != "" {
		return ""
	}
	answer := header{}
	h.ServeHTTP(answer, r)
	return http.Header(answer).Get("Allow")
}

// header is a response of which only the header counts.
type header http.Header

func (h header) Header() http.Header       { return http.Header(h) }
func (header) Write(b []byte) (int, error) { return len(b), nil }
func (header) WriteHeader(int)             {}

func (s *Server) serveDocument(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h[rpc.AnsweredBy] = s.answeredBy
	h.Set("Content-Type", contentTypeJSON)
	h.Set("Content-Length", strconv.Itoa(len(s.document)))
	_, _ = w.Write(s.document) // it fails only where the client is gone
}
