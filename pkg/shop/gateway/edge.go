package gateway

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/token"
)

// maxBody is the size in bytes over which a body is refused. The largest order has a little more than half of it. It is
// small because anybody can send a body, and thousands of clients at once.
const maxBody = 64 << 10

// Config says how the API is served. The zero value of a field is its default.
type Config struct {
	// Version is shown in the OpenAPI document.
	Version string
	// Logger logs the failures whose causes customers do not see. Default slog.Default().
	Logger         *slog.Logger
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Limits bound what clients may ask for.
	Limits Limits
}

// An Edge is the public API over HTTP. It is an http.Handler.
type Edge struct {
	service  *Service
	server   *httprpc.Server
	verifier *token.Verifier
	failures failures
	limits   *limits
	mux      *http.ServeMux  // knows the pattern of a request, and serves nothing
	rules    map[string]rule // by pattern
}

// A rule is what a route asks of a request before it is read: an access token, and that it is not one attempt too many.
type rule struct{ private, attempt bool }

// answerWithin is how long a client may take to send a request and to read the answer. It is longer than any request
// takes, plus http.read_timeout as it is by default.
const answerWithin = time.Minute

// New returns the API. It remembers what it accepted in s, sends orders through sender, and asks the other services
// through callers.
func New(s *Store, sender leveret.Sender, callers Callers, config Config) (*Edge, error) {
	config.Logger = cmp.Or(config.Logger, slog.Default())
	e := &Edge{service: newService(s, sender, callers.inside()), failures: failures{config.Logger}}
	h := leveret.NewHandlers(API, leveret.HandlersConfig{Middleware: []leveret.Middleware{e.failures.middleware}})
	e.service.register(h)
	var err error
	if e.verifier, err = token.NewVerifier(token.VerifierConfig{Keys: token.FromAuth(callers.Auth)}); err != nil {
		return nil, err
	}
	e.server, err = httprpc.NewServer(h, httprpc.ServerConfig{
		Title: "The shop", Version: config.Version, Routes: routes(), Strict: true, Bearer: true, MaxBody: maxBody, Anonymous: true,
		Logger: config.Logger, TracerProvider: config.TracerProvider, MeterProvider: config.MeterProvider,
	})
	if err != nil {
		return nil, err
	}
	if e.limits, err = newLimits(config.Limits); err != nil {
		return nil, err
	}
	e.mux, e.rules = http.NewServeMux(), make(map[string]rule)
	for _, r := range routes() {
		pattern := r.Contract.Spec().HTTP
		e.mux.Handle(pattern, http.NotFoundHandler())
		e.rules[pattern] = rule{private: !r.Public, attempt: r.Contract == LogIn || r.Contract == Register}
	}
	return e, nil
}

// Run keeps the keys by which access tokens are verified up to date, until ctx ends.
func (e *Edge) Run(ctx context.Context) error { return e.verifier.Run(ctx) }

type principalKey struct{}

// ServeHTTP hands a request to the handlers, together with the customer whose access token it has. It refuses a request
// before its body is decoded if there are too many, if its token is not valid, and if it needs a token and has none.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerWithin)) // every net/http server can
	c := e.limits.of(r)
	end, err := e.limits.begin(c)
	if err != nil { // not logged: there may be very many
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // or net/http would answer only once it has the body
		}
		_ = httprpc.WriteProblem(w, err)
		return
	}
	defer end()
	if r, err = e.identify(r); err == nil {
		err = e.allow(c, r)
	}
	if err != nil {
		if errors.Is(err, token.ErrInvalid) || errors.Is(err, token.ErrExpired) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750: libraries refresh it then
		}
		drain(w, r)
		// It fails only where the client is gone.
		_ = httprpc.WriteProblem(w, e.failures.keep(r.Context(), "verify the access token", err))
		return
	}
	e.server.ServeHTTP(w, r)
}

// drainWithin is how long a client may take to send the body of a request that is refused.
const drainWithin = time.Second

// drain reads a body that nobody needs, if it is no larger than any other. Over HTTP/2, an answer that comes before the
// end of the request is lost by some clients, such as curl 7.88. Over HTTP/1, net/http does so itself.
func drain(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainWithin)) // every net/http server can
	_, _ = io.CopyN(io.Discard, r.Body, maxBody+1)                                 // the request is refused anyway
}

// allow returns what the route of a request asks for and the request does not have.
func (e *Edge) allow(c *client, r *http.Request) error {
	_, pattern := e.mux.Handler(r)
	to := e.rules[pattern] // what is no route is for the server to answer
	if to.private {
		_, err := customer(r.Context())
		return err
	}
	if to.attempt {
		return e.limits.attempt(c, time.Now())
	}
	return nil
}

// identify puts the customer whose access token a request has into its context. A request without one has none.
func (e *Edge) identify(r *http.Request) (*http.Request, error) {
	values := r.Header.Values("Authorization")
	switch len(values) {
	case 0:
		return r, nil
	case 1:
	default:
		return r, leveret.Errorf(leveret.InvalidArgument, "there are %d Authorization headers; send one", len(values))
	}
	access, err := token.Bearer(values[0])
	if err != nil {
		return r, err
	}
	p, err := e.verifier.Verify(r.Context(), access)
	if err != nil {
		return r, err
	}
	return r.WithContext(context.WithValue(r.Context(), principalKey{}, p)), nil
}

// customer returns the id of the customer who makes the request that ctx belongs to, or token.ErrMissing.
func customer(ctx context.Context) (string, error) {
	p, ok := ctx.Value(principalKey{}).(token.Principal)
	if !ok {
		return "", token.ErrMissing
	}
	return p.UserID, nil
}
