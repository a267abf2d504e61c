package httprpc_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestCodec: over HTTP a contract's payloads and replies are JSON, whatever they are elsewhere.
func TestCodec(t *testing.T) {
	t.Parallel()
	shout := leveret.NewRequest[string, []byte]("greeter.shout", leveret.Encoded(either()))
	service := leveret.NewService("greeter", leveret.Answers(shout))
	bodies := make(chan string, 9)
	h := leveret.NewHandlers(service, leveret.HandlersConfig{Middleware: []leveret.Middleware{func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			bodies <- string(m.Body)
			return next(ctx, m)
		}
	}}})
	shout.Answer(h, func(_ context.Context, text string) ([]byte, error) { return []byte(strings.ToUpper(text)), nil })
	server, err := httprpc.NewServer(h, httprpc.ServerConfig{Strict: true})
	require.NoError(t, err)
	at := serve(t, server)
	caller := newCaller(t, httprpc.CallerConfig{Service: leveret.NewService("guest", leveret.Calls(shout)), URLs: []string{at.URL}})
	reply, err := shout.Call(t.Context(), caller, "<hey>")
	require.NoError(t, err)
	require.Equal(t, "<HEY>", string(reply))
	require.Equal(t, "<hey>", <-bodies, "as from a queue")

	post := func(body string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.URL+"/greeter.shout", strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		response, err := at.Client().Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(text)
	}
	status, text := post(`"hey"`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, `"SEVZ"`, text)
	for _, wrong := range []string{"", "hey", "7", "null", `"hey" "you"`, "\"\xff\""} {
		status, text = post(wrong)
		require.Equal(t, http.StatusBadRequest, status, "%q: %s", wrong, text)
		require.Contains(t, text, `"code":"invalid_argument"`)
	}

	for _, pattern := range []string{"GET /shout", "POST /shout/{how}"} {
		shout := leveret.NewRequest[string, string]("greeter.shout", leveret.Encoded(leveret.Text()), leveret.HTTP(pattern))
		h := leveret.NewHandlers(leveret.NewService("greeter", leveret.Answers(shout)), leveret.HandlersConfig{})
		shout.Answer(h, func(context.Context, string) (string, error) { return "", nil })
		_, err := httprpc.NewServer(h, httprpc.ServerConfig{})
		want := "must be the body"
		require.ErrorContains(t, err, want)
		_, err = httprpc.NewCaller(httprpc.CallerConfig{Service: leveret.NewService("guest", leveret.Calls(shout)), URLs: []string{at.URL}})
		require.ErrorContains(t, err, want)
	}
}

// TestCodecIsStrict: of a codec that leaves the JSON to encoding/json, an unknown field is refused like any contract's, and
// no error quotes a secret.
func TestCodecIsStrict(t *testing.T) {
	t.Parallel()
	type card struct {
		Number leveret.Secret `json:"number"`
		Limit  int            `json:"limit"`
	}
	boxed := leveret.Codec{
		ContentType: "application/x-boxed",
		Encode:      func(pointer any) ([]byte, error) { return json.Marshal([]any{pointer}) },
		Decode: func(body []byte, pointer any) error {
			return json.Unmarshal(body, &[]any{pointer})
		},
	}
	check := leveret.NewRequest[card, card]("cards.check", leveret.Encoded(boxed))
	h := leveret.NewHandlers(leveret.NewService("cards", leveret.Answers(check)), leveret.HandlersConfig{})
	check.Answer(h, func(_ context.Context, c card) (card, error) { return c, nil })
	for strict, status := range map[bool]int{true: http.StatusBadRequest, false: http.StatusOK} {
		server, err := httprpc.NewServer(h, httprpc.ServerConfig{Strict: strict})
		require.NoError(t, err)
		at := serve(t, server)
		for body, want := range map[string]int{
			`{"number":"4711","limit":1}`: http.StatusOK, `{"number":"4711","limit":1,"added":1}`: status,
			`{"number":4711}`: http.StatusBadRequest, `{"number":"x","limit":4711.5}`: http.StatusBadRequest,
		} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.URL+"/cards.check", strings.NewReader(body))
			require.NoError(t, err)
			request.Header.Set("Content-Type", "application/json")
			response, err := at.Client().Do(request)
			require.NoError(t, err)
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, want, response.StatusCode, "%v %s: %s", strict, body, text)
			if want == http.StatusBadRequest && strings.Contains(body, `"number":4711`) {
				require.NotContains(t, string(text), "4711")
				require.Contains(t, string(text), "number")
			}
		}
	}
}

// either carries texts and bytes.
func either() leveret.Codec {
	text, raw := leveret.Text(), leveret.Bytes()
	return leveret.Codec{
		ContentType: "application/x-either",
		Encode: func(pointer any) ([]byte, error) {
			if _, ok := pointer.(*string); ok {
				return text.Encode(pointer)
			}
			return raw.Encode(pointer)
		},
		Decode: func(body []byte, pointer any) error {
			if _, ok := pointer.(*string); ok {
				return text.Decode(body, pointer)
			}
			return raw.Decode(body, pointer)
		},
	}
}
