package httprpc_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Whatever stands in a URL and in a body, the path decides, and the answer is either the payload or a problem.
func FuzzParameters(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"order_id=8", `{"order_id":"7"}`},
		{"tags=a&tags=b", `{"ORDER_ID":"7","lines":null}`},
		{"%zz", "[]"},
		{"lines=1;2", `{"order_id":null}`},
		{"token=x", `{"\u006frder_id":"x"}`},
		{"order_id=a&order_id=b", `{"a":{},"a":[]}`},
		{"=&=", "\xff"},
	} {
		f.Add("7", seed[0], seed[1])
	}
	s := newShop(leveret.HandlersConfig{})
	h, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, id, query, body string) {
		if id == "" {
			return
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", strings.NewReader(body))
		id = strings.NewReplacer("/", "_", ".", "_").Replace(id)
		r.URL = &url.URL{Path: "/orders/" + id, RawPath: "/orders/" + url.PathEscape(id), RawQuery: query}
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.True(t, json.Valid(w.Body.Bytes()))
		if w.Code == http.StatusOK {
			var c cart
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c))
			require.Equal(t, id, c.OrderID)
			return
		}
		require.Equal(t, http.StatusBadRequest, w.Code, w.Body)
		require.True(t, utf8.Valid(w.Body.Bytes()))
	})
}

// A payload that a caller sends in a URL is the one that the server gets.
func FuzzQuery(f *testing.F) {
	f.Add("7", "a", 1, 1.5, "b", true)
	f.Add("..", "&=;%", -1, 1e300, "\x00", false)
	s := newShop(leveret.HandlersConfig{})
	server := s.server(f, httprpc.ServerConfig{})
	caller := newCaller(f, httprpc.CallerConfig{Service: s.caller, URLs: []string{server.URL}})
	f.Fuzz(func(t *testing.T, id, sku string, quantity int, weight float64, tag string, gift bool) {
		if id == "" || id == "/" || quantity < 0 || !utf8.ValidString(id) || !utf8.ValidString(sku) || !utf8.ValidString(tag) {
			return
		}
		sent := order{OrderID: id, SKU: sku, Quantity: quantity, Weight: weight, Tags: []string{tag, sku}, Gift: &gift}
		got, err := s.show.Call(t.Context(), caller, sent)
		require.NoError(t, err)
		require.Equal(t, sent, got)
	})
}
