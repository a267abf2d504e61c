package httprpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// load reads a document with a library that is not ours, and validates it.
func load(t *testing.T, document string) *openapi3.T {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData([]byte(document))
	require.NoError(t, err, document)
	require.NoError(t, doc.Validate(loader.Context, openapi3.IsOpenAPI31OrLater()), document)
	return doc
}

func TestDocument(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	config := httprpc.ServerConfig{Title: "The shop", Version: "1.2.3", Routes: s.routes(), Bearer: true}
	a := ask(t, s.server(t, config), "GET /openapi.json", "")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, "application/json", a.Header.Get("Content-Type"))
	require.Equal(t, a.body, ask(t, newShop(leveret.HandlersConfig{}).again(t, config), "GET /openapi.json", "").body, "it is always the same")
	doc := load(t, a.body)
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Equal(t, "The shop", doc.Info.Title)
	require.Equal(t, "1.2.3", doc.Info.Version)

	place := doc.Paths.Value("/orders").Post
	require.Equal(t, "shop.place", place.OperationID)
	require.Equal(t, "Place an order", place.Summary)
	require.Equal(t, "#/components/schemas/cart", place.RequestBody.Value.Content["application/json"].Schema.Ref)
	require.True(t, place.RequestBody.Value.Required)
	require.NotNil(t, place.Responses.Status(http.StatusCreated).Value.Headers["Location"])
	require.Equal(t, []string{"shop"}, place.Tags)
	for _, failed := range []int{http.StatusNotFound, http.StatusGatewayTimeout} {
		require.NotNil(t, place.Responses.Status(failed).Value.Content["application/problem+json"])
	}
	require.Len(t, *place.Security, 1)
	require.Len(t, doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum, 16)

	show := doc.Paths.Value("/orders/{order_id}").Get
	require.Equal(t, "path", show.Parameters[0].Value.In)
	require.Nil(t, show.RequestBody)
	query := make(map[string]bool)
	for _, p := range show.Parameters {
		if p.Value.In == "query" {
			query[p.Value.Name] = p.Value.Required
		}
	}
	require.Len(t, query, 11)
	require.False(t, query["limit"])
	change := doc.Paths.Value("/orders/{order_id}").Put
	body := change.RequestBody.Value.Content["application/json"].Schema.Value
	require.NotContains(t, body.Properties, "order_id", "it is in the path")
	require.Equal(t, []string{"lines"}, body.Required)
	require.Empty(t, doc.Paths.Value("/orders/{order_id}").Delete.Responses.Status(http.StatusNoContent).Value.Content)
	ping := doc.Paths.Value("/shop.ping").Post
	require.Empty(t, *ping.Security)
	require.Nil(t, ping.RequestBody, "it would always be empty")
}

// What linters and generators of clients, which are not ours, stumble over in a document.
func TestDocumentForForeignTools(t *testing.T) {
	t.Parallel()
	type money struct {
		Amount int64 `json:"amount"`
		Cents  int8  `json:"cents"`
	}
	type bill struct {
		OrderID string     `json:"order_id"`
		Total   *money     `json:"total,omitempty"`
		PaidAt  *time.Time `json:"paid_at,omitempty"`
		Card    *money     `json:"card"`
		Sizes   []uint32   `json:"sizes,omitempty"`
		Limit   int        `json:"limit,omitempty" jsonschema:"minimum=0,maximum=100"`
	}
	type key struct {
		OrderID string `json:"order_id"`
		Since   int64  `json:"since,omitempty"`
	}
	type only struct {
		OrderID string `json:"order_id"`
	}
	put := leveret.NewRequest[bill, nothing]("shop.put", leveret.HTTP("PUT /bills"))
	show := leveret.NewRequest[key, bill]("shop.show", leveret.HTTP("GET /bills/{order_id}"))
	void := leveret.NewRequest[only, nothing]("shop.void", leveret.HTTP("POST /bills/{order_id}/void"))
	h := leveret.NewHandlers(leveret.NewService("shop", leveret.Answers(put, show, void)), leveret.HandlersConfig{})
	put.Answer(h, func(context.Context, bill) (nothing, error) { return nothing{}, nil })
	show.Answer(h, func(context.Context, key) (bill, error) { return bill{}, nil })
	void.Answer(h, func(context.Context, only) (nothing, error) { return nothing{}, nil })
	server, err := httprpc.NewServer(h, httprpc.ServerConfig{})
	require.NoError(t, err)
	text := ask(t, serve(t, server), "GET /openapi.json", "").body
	doc := load(t, text)

	require.Equal(t, "/", doc.Servers[0].URL, "the server is where the document is")
	require.Contains(t, text, "\n  \"security\": [],", "it is said that there is none")
	require.NotNil(t, doc.Tags.Get("shop"))
	require.NotEmpty(t, doc.Info.Description)
	for _, unused := range []string{"key", "only"} { // their fields are parameters
		require.NotContains(t, doc.Components.Schemas, unused)
	}
	require.NotContains(t, doc.Components.Headers, "Location", "no route has one")

	fields := doc.Components.Schemas["bill"].Value.Properties
	require.Equal(t, "#/components/schemas/money", fields["total"].Ref, "it may be missing, which is enough")
	require.Equal(t, "date-time", fields["paid_at"].Value.Format)
	require.Len(t, fields["card"].Value.AnyOf, 2, "it is null, since it cannot be missing")
	require.Equal(t, "int64", fields["sizes"].Value.Items.Value.Format)
	require.Empty(t, fields["limit"].Value.Format, "32 bits suffice")
	amounts := doc.Components.Schemas["money"].Value.Properties
	require.Equal(t, "int64", amounts["amount"].Value.Format, "many would take 32 bits")
	require.Empty(t, amounts["cents"].Value.Format)

	get := doc.Paths.Value("/bills/{order_id}").Get
	require.Nil(t, get.Parameters.GetByInAndName("header", "Idempotency-Key"), "it can be repeated anyway")
	require.Equal(t, "int64", get.Parameters.GetByInAndName("query", "since").Schema.Value.Format)
	require.NotNil(t, doc.Paths.Value("/bills").Put.Parameters.GetByInAndName("header", "Idempotency-Key"))
	require.Nil(t, doc.Paths.Value("/bills/{order_id}/void").Post.RequestBody, "all is in the path")
}

// again serves the routes of another shop in the same way.
func (s *shop) again(t *testing.T, config httprpc.ServerConfig) *httptest.Server {
	t.Helper()
	config.Routes = s.routes()
	return s.server(t, config)
}

type otherCart = cart

// Two types of one name are two schemas.
func TestSchemasOfOneName(t *testing.T) {
	t.Parallel()
	first := leveret.NewRequest[nothing, otherCart]("shop.first")
	second := leveret.NewRequest[nothing, []map[string]string]("shop.second")
	type cart struct {
		Other int `json:"other"`
	}
	type tree struct {
		Carts    []cart  `json:"carts"`
		Children []*tree `json:"children"`
	}
	third := leveret.NewRequest[tree, cart]("shop.third")
	service := leveret.NewService("shop", leveret.Answers(first, second, third))
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	first.Answer(h, func(context.Context, nothing) (otherCart, error) { return otherCart{}, nil })
	second.Answer(h, func(context.Context, nothing) ([]map[string]string, error) { return nil, nil })
	third.Answer(h, func(context.Context, tree) (cart, error) { return cart{}, nil })
	server, err := httprpc.NewServer(h, httprpc.ServerConfig{})
	require.NoError(t, err)
	doc := load(t, ask(t, serve(t, server), "GET /openapi.json", "").body)
	require.Contains(t, doc.Components.Schemas, "cart")
	require.Contains(t, doc.Components.Schemas, "shop.third.cart")
	require.Contains(t, doc.Components.Schemas, "shop.second.reply")
	carts := doc.Paths.Value("/shop.third").Post.RequestBody.Value.Content["application/json"].Schema.Value.Properties["carts"]
	require.Equal(t, "#/components/schemas/shop.third.cart", carts.Value.AnyOf[0].Value.Items.Ref)
}

func TestNumbersInTheDocumentKeepTheirDigits(t *testing.T) {
	t.Parallel()
	type inner struct {
		Choice int64 `json:"choice" jsonschema:"enum=9007199254740993,enum=1"`
	}
	type payload struct {
		Start  int64            `json:"start" jsonschema:"default=9007199254740993,example=1541815603606036481"`
		Inner  []*inner         `json:"inner,omitempty"`
		ByName map[string]inner `json:"by_name"`
	}
	r := leveret.NewRequest[payload, nothing]("shop.count")
	h := leveret.NewHandlers(leveret.NewService("shop", leveret.Answers(r)), leveret.HandlersConfig{})
	r.Answer(h, func(context.Context, payload) (nothing, error) { return nothing{}, nil })
	server, err := httprpc.NewServer(h, httprpc.ServerConfig{})
	require.NoError(t, err)
	document := ask(t, serve(t, server), "GET /openapi.json", "").body
	for _, number := range []string{"9007199254740993", "1541815603606036481"} {
		require.Contains(t, document, number)
	}
	for _, rounded := range []string{"9007199254740992", "1541815603606036500", "1541815603606036480", "e+"} {
		require.NotContains(t, document, rounded)
	}
}

// What the server takes and answers is what its document says.
func TestServerKeepsItsDocument(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{Routes: s.routes(), Bearer: true})
	doc := load(t, ask(t, server, "GET /openapi.json", "").body)
	doc.Servers = openapi3.Servers{{URL: server.URL}}
	router, err := gorillamux.NewRouter(doc)
	require.NoError(t, err)
	card := errors.New("the card")
	for _, c := range []struct {
		request, body string
		headers       []string
		status        int
		wrong         bool // the document, too, says that the request is wrong
		fails         error
	}{
		{"POST /orders", `{"order_id":"7","lines":[{"sku":"a"}]}`, nil, 201, false, nil},
		{"POST /orders", `{"order_id":7,"lines":[]}`, nil, 400, true, nil},
		{"POST /orders", `{}`, nil, 403, true, leveret.Errorf(leveret.PermissionDenied, "no: %w", card)},
		{"POST /orders", `{"order_id":"7","lines":[]}`, nil, 504, false, leveret.Errorf(leveret.Internal, "%w", leveret.ErrOutcomeUnknown)},
		{"POST /orders", `{"order_id":"7","lines":[]}`, nil, 429, false, leveret.RetryAfter(1, leveret.ResourceExhausted)},
		{"POST /orders", `{"order_id":"7","lines":[]}`, nil, 500, false, card},
		{"POST /orders", `a=b`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, true, nil},
		{"GET /orders/7", "", []string{"Idempotency-Key", "7", "Leveret-Timeout-Ms", "5000"}, 200, false, nil},
		{"GET /orders/7?quantity=2&gift=true&tags=a&tags=b&sizes=1&limit=5&price=5&weight=1.5&placed_at=2026-01-02T15:04:05Z", "", nil, 200, false, nil},
		{"GET /orders/7?quantity=x", "", nil, 400, true, nil},
		{"GET /orders/7?limit=256", "", nil, 400, true, nil},
		{"GET /orders/7", "", []string{"Leveret-Timeout-Ms", "0"}, 400, true, nil},
		{"PUT /orders/7", `{"lines":[]}`, nil, 202, false, nil},
		{"DELETE /orders/7?sku=a", "", nil, 204, false, nil},
		{"POST /payments", `{"order_id":"7","lines":[]}`, nil, 200, false, nil},
		{"POST /shop.ping", "", nil, 200, false, nil},
	} {
		s.do = func(context.Context) error { return c.fails }
		method, path, _ := strings.Cut(c.request, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(c.body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer x")
		if c.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		input := validated(t, router, r, c.wrong, c.request+c.body)
		r.Body = io.NopCloser(strings.NewReader(c.body))
		a := do(t, server, r)
		require.Equal(t, c.status, a.StatusCode, "%s %s\n%s", c.request, c.body, a.body)
		require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: a.StatusCode, Header: a.Header, Body: io.NopCloser(bytes.NewReader([]byte(a.body))),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}), "%s %s\n%s", c.request, c.body, a.body)
	}
}

// validated checks a request by the document.
func validated(t *testing.T, router routers.Router, r *http.Request, wrong bool, what string) *openapi3filter.RequestValidationInput {
	t.Helper()
	route, params, err := router.FindRoute(r)
	require.NoError(t, err, what)
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
	}}
	err = openapi3filter.ValidateRequest(t.Context(), input)
	require.Equal(t, wrong, err != nil, "%s: %v", what, err)
	return input
}
