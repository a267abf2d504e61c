package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"

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
}

// An Edge is the public API over HTTP. It is an http.Handler.
type Edge struct {
	service  *Service
	server   *httprpc.Server
	verifier *token.Verifier
	failures failures
}

// New returns the API. It remembers what it accepted in s, sends orders through sender, and asks the other services
// through callers.
func New(s *Store, sender leveret.Sender, callers Callers, config Config) (*Edge, error) {
	config.Logger = cmp.Or(config.Logger, slog.Default())
	e := &Edge{service: newService(s, sender, callers), failures: failures{config.Logger}}
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
	return e, err
}

// Run keeps the keys by which access tokens are verified up to date, until ctx ends.
func (e *Edge) Run(ctx context.Context) error { return e.verifier.Run(ctx) }

type principalKey struct{}

// ServeHTTP checks the access token of a request, if it has one, and hands its owner to the handlers. A token that is
// not valid ends the request, whatever it asks for.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch values := r.Header.Values("Authorization"); {
	case len(values) == 1:
		access, err := token.Bearer(values[0])
		var p token.Principal
		if err == nil {
			p, err = e.verifier.Verify(r.Context(), access)
		}
		if err != nil {
			// It fails only where the client is gone.
			_ = httprpc.WriteProblem(w, e.failures.keep(r.Context(), "verify the access token", err))
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), principalKey{}, p))
	case len(values) > 1:
		_ = httprpc.WriteProblem(w, leveret.Errorf(leveret.InvalidArgument, "there are %d Authorization headers; send one", len(values)))
		return
	}
	e.server.ServeHTTP(w, r)
}

// customer returns the id of the customer who makes the request that ctx belongs to, or token.ErrMissing.
func customer(ctx context.Context) (string, error) {
	p, ok := ctx.Value(principalKey{}).(token.Principal)
	if !ok {
		return "", token.ErrMissing
	}
	return p.UserID, nil
}
