package httprpc_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
)

// The document is valid, and the running server does what it says.
func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, httprpc.ServerConfig{Title: "A library", Version: "1.2.3", Bearer: true, Routes: []httprpc.Route{
		{Contract: move, Status: http.StatusAccepted, Location: "/shelves/{shelf}/{title}", Summary: "Move a book"},
		{Contract: failing, Public: true},
	}})
	answer, content := l.do(t, "GET", "/openapi.json", "")
	require.Equal(t, 200, answer.StatusCode)
	_, again := newLibrary(t, httprpc.ServerConfig{}).do(t, "GET", "/openapi.json", "")
	_, thrice := newLibrary(t, httprpc.ServerConfig{}).do(t, "GET", "/openapi.json", "")
	require.Equal(t, again, thrice, "the same bytes each time")

	doc, err := openapi3.NewLoader().LoadFromData([]byte(content))
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	require.Equal(t, "A library", doc.Info.Title)
	require.Equal(t, "Move a book", doc.Paths.Find("/shelf.move").Post.Summary)
	router, err := gorillamux.NewRouter(doc)
	require.NoError(t, err)
	check := func(method, path, body string, status int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, l.url+path, strings.NewReader(body))
		require.NoError(t, err)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		route, params, err := router.FindRoute(r)
		require.NoError(t, err)
		input := &openapi3filter.RequestValidationInput{
			Request: r, PathParams: params, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: func(context.Context, *openapi3filter.AuthenticationInput) error { return nil }},
		}
		valid := openapi3filter.ValidateRequest(t.Context(), input)
		answer, err := l.server.Client().Do(r.Clone(t.Context()))
		if body != "" {
			r.Body = io.NopCloser(strings.NewReader(body))
			answer, err = l.server.Client().Do(r)
		}
		require.NoError(t, err)
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, status, answer.StatusCode, string(content))
		require.Equal(t, status < 400, valid == nil, "%s %s: the document and the server disagree: %v", method, path, valid)
		require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: answer.StatusCode, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(content)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}), string(content))
	}
	check("GET", "/shelves/7/Emma?tags=a&tags=b&signed=true", "", 200)
	check("GET", "/shelves/seven/Emma", "", 400)
	check("PUT", "/shelves/7/Emma", `{"tags":["x"]}`, 200)
	check("POST", "/shelf.move", `{"shelf":7,"title":"Emma"}`, 202)
	check("POST", "/shelf.move", `{"shelf":"7","title":"Emma"}`, 400)

	moved, _ := l.do(t, "POST", "/shelf.move", `{"shelf":7,"title":"a/b"}`)
	require.Equal(t, "/shelves/7/a%2Fb", moved.Header.Get("Location"))
}
