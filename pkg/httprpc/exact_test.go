package httprpc_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type number struct {
	ID      uint64 `json:"id"`
	Balance int64  `json:"balance,omitempty"`
}

type account struct {
	ID   uint64         `json:"id"`
	Any  any            `json:"any,omitempty"`
	More map[string]any `json:"more,omitempty"`
}

// Numbers keep their digits in paths, queries, bodies and replies.
func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	show := leveret.NewRequest[number, number]("bank.show", leveret.HTTP("GET /accounts/{id}"), leveret.Idempotent())
	change := leveret.NewRequest[account, any]("bank.change", leveret.HTTP("PUT /accounts/{id}"), leveret.Idempotent())
	bank := leveret.NewService("bank", leveret.Answers(show, change))
	h := leveret.NewHandlers(bank, leveret.HandlersConfig{})
	show.Answer(h, func(_ context.Context, n number) (number, error) { return n, nil })
	change.Answer(h, func(_ context.Context, a account) (any, error) { return a, nil })
	s, err := httprpc.NewServer(h, httprpc.ServerConfig{Strict: true})
	require.NoError(t, err)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	caller := newCaller(t, httprpc.CallerConfig{
		Service: leveret.NewService("teller", leveret.Calls(show, change)), URLs: []string{server.URL},
	})

	n, err := show.Call(t.Context(), caller, number{ID: 18446744073709551615, Balance: -9223372036854775808})
	require.NoError(t, err)
	require.Equal(t, number{ID: 18446744073709551615, Balance: -9223372036854775808}, n)
	const body = `{"any":[1541815603606036481,1.10,1e400],"more":{"n":18446744073709551615}}`
	for _, sent := range []string{body, "\ufeff" + body} {
		answer := ask(t, server, "PUT /accounts/1541815603606036481", sent)
		require.Equal(t, http.StatusOK, answer.StatusCode, answer.body)
		require.Equal(t, `{"id":1541815603606036481,`+body[1:], answer.body)
	}
	refused := ask(t, server, "PUT /accounts/7", `{"any":1e400,"unknown":1}`)
	require.Equal(t, http.StatusBadRequest, refused.StatusCode, "a field that is none is found after a number that no float64 holds")
	require.Contains(t, refused.body, `"field":"unknown"`)
}
