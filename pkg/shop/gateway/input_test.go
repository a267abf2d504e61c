package gateway_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
)

// body returns an order with a change, as text.
func body(t *testing.T, change func(order, line, price map[string]any)) string {
	t.Helper()
	price := map[string]any{"amount": 999, "currency": "EUR"}
	line := map[string]any{"sku": "TEA-GREEN", "quantity": 1, "unit_price": price}
	order := map[string]any{"card_token": cardToken, "lines": []any{line}}
	change(order, line, price)
	text, err := json.Marshal(order)
	require.NoError(t, err)
	return string(text)
}

// A wrong request is refused with what is wrong, and reaches no service.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	good, lines := body(t, func(_, _, _ map[string]any) {}), func(n int) string {
		return body(t, func(o, l, _ map[string]any) {
			all := make([]any, n)
			for i := range all {
				all[i] = l
			}
			o["lines"] = all
		})
	}
	price := func(member string, value any) string {
		return body(t, func(_, _, p map[string]any) { p[member] = value })
	}
	line := func(member string, value any) string {
		return body(t, func(_, l, _ map[string]any) { l[member] = value })
	}
	order := func(member string, value any) string {
		return body(t, func(o, _, _ map[string]any) { o[member] = value })
	}
	before := s.asked()
	for name, tc := range map[string]struct {
		body   string
		status int
		field  string // named in the problem
		says   string
	}{
		"empty":              {"", 400, "", "the body is empty"},
		"blank":              {" \n", 400, "", "the body is empty"},
		"null":               {"null", 400, "", "null"},
		"a list":             {"[]", 400, "", ""},
		"text":               {`"order"`, 400, "", ""},
		"no JSON":            {"card_token=tok_visa", 400, "", "not JSON"},
		"cut":                {good[:len(good)-1], 400, "", "not JSON"},
		"trailing text":      {good + "x", 400, "", "not JSON"},
		"two orders":         {good + good, 400, "", "not JSON"},
		"a comment":          {"/**/" + good, 400, "", "not JSON"},
		"UTF-16":             {"\xff\xfe{\x00}\x00", 400, "", ""},
		"not UTF-8":          {order("card_token", "tok_") + "", 400, "card_token", ""},
		"not UTF-8 in a SKU": {strings.Replace(good, "TEA-GREEN", "TEA\xff", 1), 400, "", "not UTF-8"},
		"deep":               {strings.Repeat("[", 20_000), 400, "", ""},
		"deep inside":        {`{"lines":` + strings.Repeat(`[`, 20_000) + strings.Repeat(`]`, 20_000) + "}", 400, "", ""},
		"deep, unknown":      {`{"x":` + strings.Repeat(`{"x":`, 10_500) + "1" + strings.Repeat(`}`, 10_500) + "}", 400, "", ""},
		"unknown":            {order("colour", "red"), 400, "colour", "is no field"},
		"unknown inside":     {price("vat", 19), 400, "vat", "is no field"},
		"another's":          {order("customer_id", uuid.NewString()), 400, "customer_id", "is no field"},
		"an id":              {order("order_id", uuid.NewString()), 400, "order_id", "is no field"},
		"no fields":          {"{}", 400, "card_token", "is required"},
		"no lines":           {order("lines", []any{}), 400, "lines", ""},
		"101 lines":          {lines(101), 400, "lines", ""},
		"10,000 lines":       {lines(10_000), 413, "", "larger than 65536 bytes"},
		"500 lines":          {lines(500), 400, "lines", ""},
		"the same twice":     {lines(2), 400, "lines[1].sku", ""},
		"no SKU":             {line("sku", ""), 400, "lines[0].sku", "is required"},
		"NUL in a SKU":       {line("sku", "TEA\x00"), 400, "lines[0].sku", "control characters"},
		"a long SKU":         {line("sku", strings.Repeat("x", 65)), 400, "lines[0].sku", ""},
		"quantity 0":         {line("quantity", 0), 400, "lines[0].quantity", "at least 1"},
		"quantity -1":        {line("quantity", -1), 400, "lines[0].quantity", "at least 1"},
		"quantity 10,001":    {line("quantity", 10_001), 400, "lines[0].quantity", "at most 10000"},
		"half":               {line("quantity", 0.5), 400, "", "lines.quantity"},
		"quantity as text":   {line("quantity", "1"), 400, "", "lines.quantity"},
		"amount 0":           {price("amount", 0), 400, "lines[0].unit_price.amount", ""},
		"amount -1":          {price("amount", -1), 400, "lines[0].unit_price.amount", ""},
		"amount absurd":      {price("amount", int64(1)<<62), 400, "lines[0].unit_price.amount", ""},
		"amount over int64":  {strings.Replace(good, "999", "9223372036854775808", 1), 400, "", "amount"},
		"amount 1e999999":    {strings.Replace(good, "999", "1e999999", 1), 400, "", "amount"},
		"amount of 50 KB":    {strings.Replace(good, "999", strings.Repeat("9", 50_000), 1), 400, "", "amount"},
		"amount NaN":         {strings.Replace(good, "999", "NaN", 1), 400, "", "not JSON"},
		"in all absurd":      {strings.Replace(line("quantity", 10_000), "999", "100000000000", 1), 400, "lines", ""},
		"eur":                {price("currency", "eur"), 400, "lines[0].unit_price.currency", "ISO 4217"},
		"EURO":               {price("currency", "EURO"), 400, "lines[0].unit_price.currency", "ISO 4217"},
		"XXX":                {price("currency", "XXX"), 400, "lines[0].unit_price.currency", "ISO 4217"},
		"a card number":      {order("card_token", "4111111111111111"), 400, "card_token", ""},
		"SQL":                {order("card_token", "tok_x'; DROP TABLE accepted; --"), 400, "card_token", ""},
		"too large":          {order("card_token", strings.Repeat("x", 1<<20)), 413, "", "larger than 65536 bytes"},
	} {
		answer, content := s.do(t, call{method: http.MethodPost, path: "/orders", as: ada, body: tc.body})
		require.Equal(t, tc.status, answer.StatusCode, "%s: %s", name, content)
		var p problem
		require.NoError(t, json.Unmarshal(content, &p), name)
		require.Equal(t, "invalid_argument", p.Code, name)
		require.Contains(t, p.Detail, tc.says, name)
		require.Less(t, len(content), 4096, name)
		if tc.field != "" {
			require.Contains(t, fieldsOf(p.Errors), tc.field, "%s: %s", name, content)
		}
	}
	require.Equal(t, before, s.asked(), "nothing has left the gateway")
	s.requireNoSecrets(t, "4111111111111111", "DROP TABLE")

	twice := strings.Replace(good, `"currency":"EUR"`, `"currency":"XXX","currency":"EUR"`, 1)
	get[gateway.Accepted](t, s, 202, call{path: "/orders", as: ada, body: twice}) // the last one counts
}

func fieldsOf(violations []leveret.FieldViolation) (fields []string) {
	for _, v := range violations {
		fields = append(fields, v.Field)
	}
	return fields
}

// The fields of a registration, and of the rest, are checked at the edge too.
func TestBadAccounts(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	before := s.asked()
	for path, wrong := range map[string]map[string]string{
		"/users": {
			"email": `{"email":"ada","name":"Ada","password":"12345678"}`, "name": `{"email":"a@example.com","name":"","password":"12345678"}`,
			"password": `{"email":"a@example.com","name":"Ada","password":"1234567"}`, "user_id": `{"user_id":"x"}`,
		},
		"/log-in":          {"email": `{"email":"Ada <ada@example.com>","password":"x"}`, "password": `{"email":"a@example.com","password":""}`},
		"/refresh":         {"refresh_token": `{}`, "access_token": `{"access_token":"x"}`},
		"/log-out":         {"refresh_token": `{"refresh_token":""}`},
		"/orders?limit=-1": {"limit": ""}, "/orders?limit=101": {"limit": ""}, "/orders?limit=1e999999": {"limit": ""},
		"/orders?limit=1&limit=2": {"limit": ""}, "/orders?limit=%201": {"limit": ""}, "/orders?offset=1": {"offset": ""},
		"/orders?customer_id=" + ada.userID: {"customer_id": ""}, "/orders?cursor=" + strings.Repeat("x", 129): {"cursor": ""},
		"/orders?Limit=1": {"Limit": ""}, "/orders?cursor=": {},
		"/orders/1": {"order_id": ""}, "/orders/%00": {"order_id": ""}, "/orders/..%2Fme": {"order_id": ""},
		"/orders/" + strings.ToUpper(uuid.NewString()): {"order_id": ""},
		"/orders/" + uuid.Nil.String():                 {"order_id": ""},
	} {
		for field, sent := range wrong {
			c := call{path: path, as: ada}
			if sent != "" {
				c.body = sent
			}
			p := get[problem](t, s, 400, c)
			require.Contains(t, fieldsOf(p.Errors), field, path)
		}
	}
	get[problem](t, s, 400, call{path: "/orders/%ff", as: ada})
	require.Equal(t, before, s.asked(), "nothing has left the gateway")
	p := get[problem](t, s, 400, call{path: "/orders?cursor=abc", as: ada})
	require.Contains(t, fieldsOf(p.Errors), "cursor", "which only the order service can say")
	for _, query := range []string{"limit=%zz", "limit=1;cursor=x", "%"} {
		require.Contains(t, get[problem](t, s, 400, call{path: "/orders?" + query, as: ada}).Detail, "query", query)
	}
}

// What HTTP says about a request counts: its content type, its encoding, its method and its path.
func TestBadHTTP(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	good := body(t, func(_, _, _ map[string]any) {})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(good))
	require.NoError(t, z.Close())
	before := s.asked()
	for name, tc := range map[string]struct {
		header http.Header
		body   string
	}{
		"no type":         {http.Header{"Content-Type": nil}, good},
		"form":            {http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, good},
		"text":            {http.Header{"Content-Type": {"text/plain"}}, good},
		"almost JSON":     {http.Header{"Content-Type": {"application/jsonp"}}, good},
		"no type at all":  {http.Header{"Content-Type": {"json"}}, good},
		"latin-1":         {http.Header{"Content-Type": {"application/json; charset=iso-8859-1"}}, good},
		"UTF-16":          {http.Header{"Content-Type": {"application/json; charset=utf-16"}}, good},
		"broken":          {http.Header{"Content-Type": {"application/json; charset=\""}}, good},
		"gzip":            {http.Header{"Content-Encoding": {"gzip"}}, zipped.String()},
		"said to be gzip": {http.Header{"Content-Encoding": {"gzip"}}, good},
	} {
		c := call{method: http.MethodPost, path: "/orders", as: ada, body: tc.body, header: tc.header}
		require.Contains(t, get[problem](t, s, 415, c).Detail, "must", name)
	}
	for _, tc := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodOptions, "/orders", 405, "GET, HEAD, POST"},
		{http.MethodPut, "/orders", 405, "GET, HEAD, POST"},
		{http.MethodDelete, "/orders/" + uuid.NewString(), 405, "GET, HEAD"},
		{http.MethodGet, "/log-in", 405, "POST"},
		{"PROPFIND", "/me", 405, "GET, HEAD"},
		{"TRACE", "/me", 405, "GET, HEAD"},
		{http.MethodPost, "/openapi.json", 405, "GET, HEAD"},
		{http.MethodGet, "/", 404, ""},
		{http.MethodGet, "/orders/", 404, ""},
		{http.MethodGet, "/ORDERS", 404, ""},
		{http.MethodGet, "//orders", 404, ""},
		{http.MethodGet, "/orders/../me", 404, ""},
		{http.MethodGet, "/./me", 404, ""},
		{http.MethodGet, "/../../etc/passwd", 404, ""},
		{http.MethodGet, "/%2e%2e/%2e%2e/etc/passwd", 404, ""},
		{http.MethodGet, "//evil.example.com/..", 404, ""},
		{http.MethodPost, "/orders/../log-in", 404, ""},
		{http.MethodGet, "/me%00", 404, ""},
		{http.MethodGet, "/debug/pprof/", 404, ""},
		{http.MethodGet, "/metrics", 404, ""},
	} {
		answer, content := s.do(t, call{method: tc.method, path: tc.path, as: ada})
		require.Equal(t, tc.status, answer.StatusCode, "%s %s: %s", tc.method, tc.path, content)
		require.Equal(t, tc.allow, answer.Header.Get("Allow"), tc.path)
		require.Empty(t, answer.Header.Get("Location"), tc.path)
	}
	for _, header := range []http.Header{
		{"Idempotency-Key": {strings.Repeat("k", 256)}},
		{"Idempotency-Key": {`"not closed`}},
		{"Idempotency-Key": {"\xff"}},
		{"Idempotency-Key": {"one", "another"}},
	} {
		get[problem](t, s, 400, call{path: "/orders", as: ada, body: good, header: header})
	}
	require.Equal(t, before, s.asked(), "nothing has left the gateway")

	answer, content := s.do(t, call{method: http.MethodHead, path: "/orders", as: ada})
	require.Equal(t, 200, answer.StatusCode)
	require.Empty(t, content)
	for _, kind := range []string{"application/json", "application/json; charset=UTF-8", "Application/JSON", "application/vnd.shop+json"} {
		c := call{method: http.MethodPost, path: "/orders", as: ada, body: good, header: http.Header{"Content-Type": {kind}}}
		s2 := *s
		s2.router = nil // the document says application/json, and no more
		get[gateway.Accepted](t, &s2, 202, c)
	}
	for _, key := range []string{strings.Repeat("k", 255), `"quoted, with a \" in it"`, "ключ"} {
		get[gateway.Accepted](t, s, 202, call{path: "/orders", as: ada, body: good, header: http.Header{"Idempotency-Key": {key}}})
	}
}

// Requests as no HTTP client writes them: none of them ends the gateway, and what is ambiguous is refused.
func TestBareConnections(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	good := body(t, func(_, _, _ map[string]any) {})
	head := "POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nAuthorization: Bearer " + ada.AccessToken + "\r\n"
	length := func(n int) string { return "Content-Length: " + strconv.Itoa(n) + "\r\n" }
	chunked := strconv.FormatInt(int64(len(good)), 16) + "\r\n" + good + "\r\n0\r\n\r\n"
	for _, tc := range []struct {
		name, request string
		status        int // 0 where the connection may be closed without an answer
		placed        bool
	}{
		{"plain", head + length(len(good)) + "\r\n" + good, 202, true},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 202, true},
		{"expecting", head + "Expect: 100-continue\r\n" + length(len(good)) + "\r\n" + good, 202, true},
		{"expecting much", head + "Expect: 200-maybe\r\n" + length(len(good)) + "\r\n" + good, 417, false},
		{"HTTP/1.0", strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + length(len(good)) + "\r\n" + good, 202, true},
		{"HTTP/1.0, no host", "GET /me HTTP/1.0\r\n\r\n", 401, false},
		{"no host", "GET /me HTTP/1.1\r\n\r\n", 400, false},
		{"two hosts", "GET /me HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, false},
		{"HTTP/3.0", "GET /me HTTP/3.0\r\nHost: shop\r\n\r\n", 505, false},
		{"HTTP/0.9", "GET /me\r\n", 400, false},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, false},
		{"NUL", "GET /\x00 HTTP/1.1\r\nHost: shop\r\n\r\n", 400, false},
		{"NUL in a header", head + "X: \x00\r\n" + length(len(good)) + "\r\n" + good, 400, false},
		{"a space before the colon", head + "Content-Length : " + strconv.Itoa(len(good)) + "\r\n\r\n" + good, 400, false},
		{"two lengths", head + length(len(good)) + length(3) + "\r\n" + good, 400, false},
		{"the same length twice", head + length(len(good)) + length(len(good)) + "\r\n" + good, 202, true},
		{"length and chunks", head + length(4) + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 0, true},
		{"odd chunks", head + "Transfer-Encoding: xchunked\r\n\r\n" + chunked, 501, false},
		{"two encodings", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked, 501, false},
		{"a negative length", head + "Content-Length: -1\r\n\r\n", 400, false},
		{"a huge length", head + "Content-Length: 99999999999999999999\r\n\r\n", 400, false},
		{"a large length", head + "Content-Length: 9999999999\r\n\r\n" + strings.Repeat(" ", 1<<20+1), 413, false},
		{"a wrong chunk", head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, false},
		{"a large chunk", head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400, false},
		{"a large header", head + "X: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", 0, false},
		{"the server itself", "OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", 200, false},
		{"a tunnel", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 404, false},
		{"another host", "GET http://example.com/me HTTP/1.1\r\nHost: shop\r\n\r\n", 401, false},
		{"cut", head + length(len(good)) + "\r\n" + good[:10], 400, false},
	} {
		before := s.asked()
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		go func() { // the answer may come before all is written
			_, _ = io.WriteString(conn, tc.request)
			if half, ok := conn.(*net.TCPConn); ok && !tc.placed { // which would end a request that is being handled
				_ = half.CloseWrite()
			}
		}()
		received := bufio.NewReader(conn)
		answer, err := http.ReadResponse(received, nil)
		for err == nil && answer.StatusCode == http.StatusContinue {
			answer, err = http.ReadResponse(received, nil)
		}
		if tc.status > 0 {
			require.NoError(t, err, tc.name)
			content, _ := io.ReadAll(answer.Body)
			require.Equal(t, tc.status, answer.StatusCode, "%s: %s", tc.name, content)
		}
		require.NoError(t, conn.Close())
		if tc.placed {
			require.LessOrEqual(t, s.asked(), before+1, tc.name)
		} else {
			require.Equal(t, before, s.asked(), tc.name)
		}
	}
	get[gateway.User](t, s, 200, call{path: "/me", as: ada})
}
