package httprpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Every code, with and without a reason, fields and a delay, is the same on the other side, and has its status.
func TestErrorsSurvive(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	var answer error // the test makes one call at a time
	s.do = func(context.Context) error { return answer }
	server := s.server(t, httprpc.ServerConfig{})
	caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{server.URL}})
	fields := []leveret.FieldViolation{{Field: "lines[0].sku", Detail: "is no \"sku\""}, {Field: "order_id", Detail: "ü"}}
	for code := leveret.Canceled; code <= leveret.Unauthenticated; code++ {
		for _, reason := range []string{"", "card_declined", leveret.ReasonOutcomeUnknown} {
			for _, fields := range [][]leveret.FieldViolation{nil, fields} {
				for _, delay := range []time.Duration{0, 1500 * time.Millisecond} {
					original := &leveret.Error{Code: code, Reason: reason, Message: "the card was declined", Fields: fields}
					answer = fmt.Errorf("card 7: %w", original)
					if delay > 0 {
						answer = leveret.RetryAfter(delay, original)
					}
					name := fmt.Sprint(code, reason, len(fields), delay)
					_, err := s.place.Call(t.Context(), caller, cart{})
					require.True(t, leveret.IsRemote(err), name)
					require.ErrorIs(t, err, code, name)
					require.Equal(t, leveret.RetryDelay(answer), leveret.RetryDelay(err), name)
					var e *leveret.Error
					require.ErrorAs(t, err, &e)
					if delay == 0 { // RetryAfter keeps the code and the message of what it wraps
						require.Equal(t, reason != "", errors.Is(err, original), name)
						require.Equal(t, fields, e.Fields, name)
					}
					unknown := errors.Is(answer, leveret.ErrOutcomeUnknown)
					require.Equal(t, unknown, errors.Is(err, leveret.ErrOutcomeUnknown), name)

					a := ask(t, server, "POST /orders", `{"order_id":"7","lines":[]}`)
					status, after := code.HTTPStatus(), ""
					switch {
					case delay > 0:
						after = "2"
					case code == leveret.Unavailable && !unknown:
						after = "1"
					}
					if unknown {
						status = http.StatusGatewayTimeout
						require.Contains(t, a.body, `"reason":"outcome_unknown"`, name)
					}
					require.Equal(t, status, a.StatusCode, name)
					require.Contains(t, a.body, `"status":`+strconv.Itoa(status), name)
					require.Contains(t, a.body, `"code":"`+code.String()+`"`, name)
					require.Equal(t, after, a.Header.Get("Retry-After"), name)
					require.Equal(t, status == http.StatusUnauthorized, a.Header.Get("WWW-Authenticate") == "Bearer", name)
				}
			}
		}
	}
	answer = errors.New("no code")
	_, err := s.place.Call(t.Context(), caller, cart{})
	require.ErrorIs(t, err, leveret.Unknown)
	require.True(t, leveret.IsRemote(err))
}
