package httprpc_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{Routes: s.routes()})
	for name, c := range map[string]struct {
		request, body string
		headers       []string
		status        int
		want          string // the whole body of a success, a part of a problem's
	}{
		"a body":                         {"POST /orders", `{"order_id":"7","lines":[]}`, nil, 201, `{"order_id":"7","lines":[]}`},
		"another name of JSON":           {"POST /orders", `{"order_id":"7","lines":[]}`, []string{"Content-Type", "application/vnd.shop+json; charset=utf-8"}, 201, `{"order_id":"7","lines":[]}`},
		"a path":                         {"GET /orders/7", "", nil, 200, `{"order_id":"7"}`},
		"an escaped path":                {"GET /orders/a%2Fb%20%C3%BC%3F", "", nil, 200, `{"order_id":"a/b ü?"}`},
		"dots":                           {"GET /orders/%2E%2E", "", nil, 200, `{"order_id":".."}`},
		"the rest of a path":             {"GET /files/a/b%20c", "", nil, 200, `{"order_id":"","sku":"a/b c"}`},
		"a query":                        {"GET /orders/7?quantity=2&weight=1.5&gift=true&price=12", "", nil, 200, `{"order_id":"7","quantity":2,"weight":1.5,"gift":true,"price":"12"}`},
		"lists":                          {"GET /orders/7?tags=a&tags=b&sizes=1&sizes=2", "", nil, 200, `{"order_id":"7","tags":["a","b"],"sizes":[1,2]}`},
		"a promoted field":               {"GET /orders/7?limit=255&cursor=x", "", nil, 200, `{"order_id":"7","limit":255,"cursor":"x"}`},
		"text types":                     {"GET /orders/7?placed_at=2026-01-02T15:04:05Z&customer=01938c3e-8a41-7000-8000-000000000001", "", nil, 200, `{"order_id":"7","placed_at":"2026-01-02T15:04:05Z","customer":"01938c3e-8a41-7000-8000-000000000001"}`},
		"an empty text":                  {"GET /orders/7?cursor=", "", nil, 200, `{"order_id":"7"}`},
		"path and body":                  {"PUT /orders/7", `{"lines":[{"sku":"a"}]}`, nil, 202, `{"order_id":"7","lines":[{"sku":"a"}]}`},
		"path and body, the same":        {"PUT /orders/a%22b", `{"order_id":"a\u0022b","lines":[]}`, nil, 202, `{"order_id":"a\"b","lines":[]}`},
		"path and body, null":            {"PUT /orders/7", `{"order_id":null,"lines":[]}`, nil, 202, `{"order_id":"7","lines":[]}`},
		"path and body differ":           {"PUT /orders/7", `{"order_id":"8","lines":[]}`, nil, 400, `"errors":[{"field":"order_id","detail":"differs between the path and the body"}]`},
		"differ, in capitals":            {"PUT /orders/7", `{"ORDER_ID":"8","lines":[]}`, nil, 400, `"field":"order_id"`},
		"the last of two differs":        {"PUT /orders/7", `{"order_id":"7","order_id":"8","lines":[]}`, nil, 400, `"field":"order_id"`},
		"of another type":                {"PUT /orders/7", `{"order_id":7,"lines":[]}`, nil, 400, `"field":"order_id"`},
		"the path beats the query":       {"GET /orders/7?order_id=8", "", nil, 200, `{"order_id":"7"}`},
		"the query beats the body":       {"POST /orders?order_id=8", `{"order_id":"7","lines":[]}`, nil, 201, `{"order_id":"8","lines":[]}`},
		"an unknown parameter":           {"GET /orders/7?color=red", "", nil, 400, `"errors":[{"field":"color","detail":"is no parameter of this request"}]`},
		"several mistakes":               {"GET /orders/7?color=red&quantity=x", "", nil, 400, `"detail":"color: is no parameter of this request; quantity: must be an integer (int)"`},
		"twice":                          {"GET /orders/7?quantity=1&quantity=1", "", nil, 400, `"field":"quantity","detail":"is given more than once"`},
		"no integer":                     {"GET /orders/7?quantity=1.5", "", nil, 400, "must be an integer"},
		"null is no integer":             {"GET /orders/7?quantity=null", "", nil, 400, "must be an integer"},
		"an empty integer":               {"GET /orders/7?quantity=", "", nil, 400, "must be an integer"},
		"a space before an integer":      {"GET /orders/7?quantity=%201", "", nil, 400, "must be an integer"},
		"an integer out of range":        {"GET /orders/7?limit=256", "", nil, 400, "limit: must be an integer (uint8)"},
		"no number":                      {"GET /orders/7?weight=NaN", "", nil, 400, "must be a number"},
		"no boolean":                     {"GET /orders/7?gift=yes", "", nil, 400, "must be true or false"},
		"no time":                        {"GET /orders/7?placed_at=today", "", nil, 400, "must be a valid Time"},
		"no UUID":                        {"GET /orders/7?customer=7", "", nil, 400, "must be a valid UUID"},
		"no UTF-8":                       {"GET /orders/7?cursor=%ff", "", nil, 400, "cursor: must be UTF-8"},
		"a malformed query":              {"GET /orders/7?cursor=%zz", "", nil, 400, "the query is malformed"},
		"a semicolon":                    {"GET /orders/7?cursor=a;limit=1", "", nil, 400, "the query is malformed"},
		"an injected member":             {"GET /orders/7?quantity=1,%22sku%22:%22x%22", "", nil, 400, "must be an integer"},
		"a list of objects":              {"POST /orders?lines=a", `{"order_id":"7","lines":[]}`, nil, 400, "lines: is a list of what is no text"},
		"a secret":                       {"POST /orders?token=hunter2", `{"order_id":"7","lines":[]}`, nil, 400, "token: is secret"},
		"Validate":                       {"GET /orders/7?quantity=-1", "", nil, 400, "quantity: must not be negative"},
		"no content":                     {"DELETE /orders/7", "", nil, 204, ""},
		"a body of DELETE":               {"DELETE /orders/7", `{"sku":"a"}`, nil, 204, ""},
		"a body of GET":                  {"GET /orders/7", `{}`, nil, 400, "GET has no body"},
		"nothing to say":                 {"POST /shop.ping", "", nil, 200, "{}"},
		"an empty body":                  {"POST /orders", "", nil, 400, "the body is empty"},
		"no JSON":                        {"POST /orders", "order 7", nil, 400, "not JSON"},
		"no JSON, with a path":           {"PUT /orders/7", "order 7", nil, 400, "the body must be a JSON object"},
		"a list, with a path":            {"PUT /orders/7", "[]", nil, 400, "the body must be a JSON object"},
		"null, with a path":              {"PUT /orders/7", "null", nil, 400, "the body must be a JSON object"},
		"no UTF-8, with a path":          {"PUT /orders/7", "{\"lines\":[{\"sku\":\"\xff\"}]}", nil, 400, "the body is not UTF-8"},
		"a wrong type":                   {"POST /orders", `{"order_id":7}`, nil, 400, `"errors":[{"field":"order_id","detail":"must be a JSON string, not a number"}]`},
		"unknown fields":                 {"POST /orders", `{"order_id":"7","lines":[],"colour":"red"}`, nil, 201, `{"order_id":"7","lines":[]}`},
		"another Content-Type":           {"POST /orders", `{}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, `"status":415`},
		"no Content-Type":                {"POST /orders", `{}`, []string{"Content-Type", ""}, 415, "application/json"},
		"compressed":                     {"POST /orders", `{}`, []string{"Content-Encoding", "gzip"}, 415, "compressed"},
		"any answer":                     {"GET /orders/7", "", []string{"Accept", "text/html, */*;q=0.1"}, 200, `{"order_id":"7"}`},
		"an answer in JSON":              {"GET /orders/7", "", []string{"Accept", "application/vnd.shop+json"}, 200, `{"order_id":"7"}`},
		"an Accept that nobody can read": {"GET /orders/7", "", []string{"Accept", ";;"}, 200, `{"order_id":"7"}`},
		"an answer in XML":               {"GET /orders/7", "", []string{"Accept", "application/xml"}, 406, `"status":406`},
		"an unknown path":                {"GET /nowhere", "", nil, 404, `"code":"not_found"`},
		"the root":                       {"GET /", "", nil, 404, `"code":"not_found"`},
		"another method":                 {"PATCH /orders/7", "{}", nil, 405, `"status":405`},
		"no timeout":                     {"GET /orders/7", "", []string{rpc.Timeout, "0"}, 400, "Leveret-Timeout-Ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := ask(t, server, c.request, c.body, c.headers...)
			require.Equal(t, c.status, a.StatusCode, a.body)
			require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
			require.True(t, strings.HasPrefix(a.Header.Get(rpc.AnsweredBy), "shop@"))
			if c.status < 300 {
				require.Equal(t, c.want, a.body)
				return
			}
			require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
			require.Contains(t, a.body, c.want)
			require.Contains(t, a.body, fmt.Sprintf(`"status":%d`, c.status))
			require.NotContains(t, a.body, "hunter2")
			require.True(t, json.Valid([]byte(a.body)))
		})
	}
}

func TestHeadAllowAndLocation(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{Routes: s.routes()})
	a := ask(t, server, "HEAD /orders/7", "")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Empty(t, a.body)
	require.EqualValues(t, len(`{"order_id":"7"}`), a.ContentLength)
	a = ask(t, server, "HEAD /orders/7?quantity=x", "")
	require.Equal(t, http.StatusBadRequest, a.StatusCode)

	a = ask(t, server, "PATCH /orders/7", "{}")
	require.Equal(t, "DELETE, GET, HEAD, PUT", a.Header.Get("Allow"))
	a = ask(t, server, "POST /orders", `{"order_id":"a/b ?","lines":[]}`)
	require.Equal(t, "/orders/a%2Fb%20%3F", a.Header.Get("Location"))
	a = ask(t, server, "POST /orders", `{"order_id":"","lines":[]}`)
	require.Equal(t, http.StatusCreated, a.StatusCode)
	require.Empty(t, a.Header.Get("Location"), "the order is placed all the same")
}

func TestStrict(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{Strict: true})
	a := ask(t, server, "POST /orders", `{"order_id":"7","lines":[{"colour":"red"}]}`)
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	require.Contains(t, a.body, `"errors":[{"field":"colour","detail":"is no field of the payload"}]`)
	a = ask(t, server, "POST /orders", `{"order_id":7}`)
	require.Contains(t, a.body, "order_id: must be a JSON string")
	a = ask(t, server, "PUT /orders/7", `{"lines":[]}`)
	require.Equal(t, http.StatusOK, a.StatusCode)
}

func TestMaxBody(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{MaxBody: 100})
	fits := `{"order_id":"` + strings.Repeat("x", 100-len(`{"order_id":"","lines":[]}`)) + `","lines":[]}`
	require.Equal(t, http.StatusOK, ask(t, server, "POST /orders", fits).StatusCode)
	a := ask(t, server, "POST /orders", fits+" ")
	require.Equal(t, http.StatusRequestEntityTooLarge, a.StatusCode)
	require.Contains(t, a.body, `"code":"invalid_argument"`)
	require.Contains(t, a.body, `"detail":"the body is larger than 100 bytes"`)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/orders", struct{ *strings.Reader }{strings.NewReader(fits + " ")})
	require.NoError(t, err)
	r.ContentLength = -1 // in chunks
	r.Header.Set("Content-Type", "application/json")
	require.Equal(t, http.StatusRequestEntityTooLarge, do(t, server, r).StatusCode)
}

// A body takes memory as it arrives, not as its length is said to be: else a client could have much of it for nothing.
func TestLengthTakesNoMemory(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{Routes: s.routes()})
	require.NoError(t, err)
	body := &roomy{Reader: strings.NewReader(`{"order_id":"7"}`)}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/orders", body)
	r.ContentLength = 1 << 20
	r.Header.Set("Content-Type", "application/json")
	server.ServeHTTP(httptest.NewRecorder(), r)
	require.Positive(t, body.first)
	require.LessOrEqual(t, body.first, 8<<10)
}

// roomy is a body that knows how much room there was for its first bytes.
type roomy struct {
	io.Reader
	first int
}

func (r *roomy) Read(p []byte) (int, error) {
	r.first = cmp.Or(r.first, len(p))
	return r.Reader.Read(p)
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	got := make(chan *leveret.Message, 1)
	s.do = func(ctx context.Context) error {
		got <- leveret.MessageFrom(ctx)
		return nil
	}
	server := s.server(t, httprpc.ServerConfig{Instance: "host/1"})
	for name, key := range map[string]struct{ header, id string }{
		"a token":             {"order-7/2", "order-7/2"},
		"a text":              {`"a \"b\" c"`, `a "b" c`},
		"not ASCII":           {`%"caf%c3%a9"`, "café"},
		"not ASCII, as it is": {"café", "café"},
		"255 bytes":           {strings.Repeat("x", 255), strings.Repeat("x", 255)},
		"255 bytes, encoded":  {`%"` + strings.Repeat("%c3%a9", 127) + `x"`, strings.Repeat("é", 127) + "x"},
	} {
		a := ask(t, server, "GET /orders/7", "", rpc.IdempotencyKey, key.header)
		require.Equal(t, http.StatusOK, a.StatusCode, name)
		m := <-got
		require.Equal(t, key.id, m.ID, name)
		require.Equal(t, key.id, m.ConversationID, name)
		conversation, err := rpc.DecodeText(a.Header.Get(rpc.Conversation))
		require.NoError(t, err)
		require.Equal(t, key.id, conversation)
		require.Equal(t, "shop@host/1", a.Header.Get(rpc.AnsweredBy))
	}
	for name, key := range map[string]string{
		"256 bytes": strings.Repeat("x", 256), "256 bytes, encoded": `%"` + strings.Repeat("%c3%a9", 128) + `"`,
		"open": `"a`, "no escape": `"a\b"`, "no hex": `%"%zz"`, "no UTF-8": `%"%ff"`,
	} {
		a := ask(t, server, "GET /orders/7", "", rpc.IdempotencyKey, key)
		require.Equal(t, http.StatusBadRequest, a.StatusCode, name)
		require.Contains(t, a.body, "Idempotency-Key", name)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/orders/7", nil)
	require.NoError(t, err)
	r.Header[rpc.IdempotencyKey] = []string{"a", "b"}
	require.Equal(t, http.StatusBadRequest, do(t, server, r).StatusCode)

	a := ask(t, server, "GET /orders/7", "", rpc.Conversation, "talk", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	m := <-got
	id, err := uuid.Parse(m.ID)
	require.NoError(t, err, "a request without an id gets one")
	require.EqualValues(t, 7, id.Version())
	require.Equal(t, "talk", m.ConversationID)
	require.Equal(t, "talk", a.Header.Get(rpc.Conversation))
	require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", m.Headers["traceparent"])
}

// The deadline is the one that the client asks for, and never more than the contract's.
func TestDeadline(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	type seen struct {
		deadline time.Time
		message  *leveret.Message
	}
	got := make(chan seen, 1)
	s.do = func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		got <- seen{deadline, leveret.MessageFrom(ctx)}
		return nil
	}
	server := s.server(t, httprpc.ServerConfig{})
	for header, limit := range map[string]time.Duration{
		"": leveret.DefaultTimeout, "5000": 5 * time.Second, "3600000": leveret.DefaultTimeout, "99999999999999": leveret.DefaultTimeout,
	} {
		before := time.Now()
		require.Equal(t, http.StatusOK, ask(t, server, "GET /orders/7", "", rpc.Timeout, header).StatusCode)
		after := time.Now()
		g := <-got
		require.False(t, g.message.Deadline.Before(before.Add(limit)), header)
		require.False(t, g.message.Deadline.After(after.Add(limit)), header)
		require.Equal(t, g.message.Deadline, g.deadline)
	}
}

func TestNewServerFindsMistakes(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	other := leveret.NewRequest[order, order]("other.show")
	_, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{MaxBody: -1, Routes: []httprpc.Route{
		{},
		{Contract: other},
		{Contract: s.show, Pattern: "GET /orders/{"},
		{Contract: s.show, Pattern: "GET /orders/{id}"},
		{Contract: s.place, Status: 302},
		{Contract: s.place, Pattern: "GET /orders"},
		{Contract: s.place, Pattern: "POST /orders/{token}"},
		{Contract: s.pay, Pattern: "POST /orders/{lines}"},
		{Contract: s.change, Pattern: "/orders"},
		{Contract: s.change, Pattern: "HEAD /orders"},
		{Contract: s.cancel, Pattern: "POST example.com/orders"},
		{Contract: s.file, Pattern: "GET /files/"},
		{Contract: s.ping, Location: "/{order_id}"},
	}})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	for _, want := range []string{
		"MaxBody is -1",
		`route 0: the service "shop" does not answer a route without a contract`,
		`route 1: the service "shop" does not answer other.show`,
		`route 2: shop.show: net/http refuses the pattern "GET /orders/{"`,
		`shop.show has a route already`,
		`Status is 302`,
		`shop.place has a route already`,
		`shop.pay: the pattern "POST /orders/{lines}" has the parameter "lines", which is a list`,
		`shop.change: the pattern "/orders" must begin with one of GET, POST`,
		`shop.change has a route already`,
		`the pattern "POST example.com/orders" must have a path and no host`,
		`the pattern "GET /files/" matches all paths below it`,
		`Location is "/{order_id}": "order_id" is no field of the reply`,
	} {
		require.ErrorContains(t, err, want)
	}
	for _, c := range []struct {
		route httprpc.Route
		want  string
	}{
		{httprpc.Route{Contract: s.show, Pattern: "GET /orders/{id}"}, `the parameter "id", which is no field of the payload`},
		{httprpc.Route{Contract: s.place, Pattern: "GET /orders"}, `has no body, and the field "token" is secret`},
		{httprpc.Route{Contract: s.place, Pattern: "POST /orders/{token}"}, `the parameter "token": the field is secret`},
		{httprpc.Route{Contract: s.change, Pattern: "HEAD /orders"}, `must begin with one of GET`},
		{httprpc.Route{Contract: s.show, Pattern: "GET /openapi.json"}, "conflicts"},
	} {
		_, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{Routes: []httprpc.Route{c.route}})
		require.ErrorContains(t, err, c.want)
	}
	_, err = httprpc.NewServer(s.handlers, httprpc.ServerConfig{Routes: []httprpc.Route{
		{Contract: s.show, Pattern: "GET /x/{order_id}"}, {Contract: s.file, Pattern: "GET /x/{sku}"},
	}})
	require.ErrorContains(t, err, "conflicts")

	_, err = httprpc.NewServer(nil, httprpc.ServerConfig{})
	require.Error(t, err)
	_, err = httprpc.NewServer(leveret.NewHandlers(s.service, leveret.HandlersConfig{}), httprpc.ServerConfig{})
	require.ErrorIs(t, err, leveret.ErrUndeclared)
}

// What became of the answer is reported as over any other transport.
func TestOutcomeIsReported(t *testing.T) {
	t.Parallel()
	outcomes := make(chan leveret.Outcome, 1)
	s := newShop(leveret.HandlersConfig{OnOutcome: func(_ context.Context, _ *leveret.Message, o leveret.Outcome) { outcomes <- o }})
	server := s.server(t, httprpc.ServerConfig{})
	ask(t, server, "GET /orders/7", "")
	o := <-outcomes
	require.Equal(t, leveret.VerdictAck, o.Verdict)
	require.NoError(t, errors.Join(o.Err, o.SettleErr))
	ask(t, server, "GET /orders/7?quantity=-1", "")
	o = <-outcomes
	require.ErrorIs(t, o.Err, leveret.InvalidArgument)
	require.NoError(t, o.SettleErr)
}

// Customers do not see which process has answered them, nor that there could be a header for it.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	r := leveret.NewRequest[struct{}, struct{}]("shop.look", leveret.HTTP("GET /look"))
	h := leveret.NewHandlers(leveret.NewService("shop", leveret.Answers(r)), leveret.HandlersConfig{})
	r.Answer(h, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })
	server, err := httprpc.NewServer(h, httprpc.ServerConfig{Anonymous: true})
	require.NoError(t, err)
	for path, status := range map[string]int{"/look": 200, "/look?x=1": 400, "/nothing": 404, "/openapi.json": 200} {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, status, w.Code, path)
		require.Empty(t, w.Header().Values(rpc.AnsweredBy), path)
		require.NotContains(t, w.Body.String(), rpc.AnsweredBy, path)
	}
}
