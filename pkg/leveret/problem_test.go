package leveret

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/internal/wire"
)

func TestProblems(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		`{"type":"about:blank","title":"not_found","status":404,"detail":"no order 7","code":"not_found"}`: Errorf(NotFound, "no order 7"),
		`{"type":"about:blank","title":"failed_precondition","status":400,"detail":"the card was declined","code":"failed_precondition","reason":"card_declined"}`: NewError(
			FailedPrecondition, "card_declined", "the card was declined"),
		`{"type":"about:blank","title":"unknown","status":500,"detail":"boom","code":"unknown"}`:                       errors.New("boom"),
		`{"type":"about:blank","title":"unavailable","status":503,"code":"unavailable"}`:                               &Error{Code: Unavailable},
		`{"type":"about:blank","title":"internal","status":500,"detail":"the handler panicked","code":"internal"}`:     recoveredPanic("secret"),
		`{"type":"about:blank","title":"unknown","status":500,"detail":"discarded","code":"unknown"}`:                  Discard(nil),
		`{"type":"about:blank","title":"not_found","status":404,"detail":"order: not_found: no 7","code":"not_found"}`: fmt.Errorf("order: %w", Errorf(NotFound, "no 7")),
	} {
		require.JSONEq(t, want, string(EncodeProblem(err)))
		back := DecodeProblem(EncodeProblem(err))
		require.Equal(t, CodeOf(err), CodeOf(back))
	}
	long := DecodeProblem(EncodeProblem(errors.New(strings.Repeat("ü", 5000))))
	require.LessOrEqual(t, len(messageOf(long)), wire.MaxMessage)
}

// TestForeignProblems: RFC 9457 has members of a wrong type ignored, and so are unknown ones.
func TestForeignProblems(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"code":"not_found","detail":"no 7"}`:                            "not_found: no 7",
		`{"code":"NOT_FOUND","title":"Not there","status":"404"}`:         "not_found: Not there",
		`{"code":5,"detail":"as gRPC has it"}`:                            "unknown: as gRPC has it",
		`{"code":"teapot","detail":7,"title":"I'm a teapot","extra":[1]}`: "unknown: I'm a teapot",
		`{}`:   "unknown",
		`null`: "unknown",
		`[]`:   "unknown: the other side answered with an error that cannot be read: json: cannot unmarshal array into Go value of type map[string]json.RawMessage",
		``:     "unknown: the other side answered with an error that cannot be read: unexpected end of JSON input",
	} {
		require.EqualError(t, DecodeProblem([]byte(body)), want, body)
	}
	require.EqualError(t, DecodeProblem([]byte("\ufeff"+`{"code":"not_found","detail":"gone"}`)), "not_found: gone")
	declined := NewError(FailedPrecondition, "card_declined", "")
	require.ErrorIs(t, DecodeProblem([]byte(`{"code":"failed_precondition","reason":"card_declined"}`)), declined)
}

// A problem may have as many bytes as a message. Its texts are in logs, spans and dead letters.
func TestForeignProblemsAreCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 1<<20)
	fields := strings.Repeat(`{"field":"`+long[:2<<10]+`","detail":"`+long[:4<<10]+`"},`, 2*maxFields)
	err := DecodeProblem([]byte(`{"code":"` + long + `","reason":"` + long + `","detail":"` + long + `","errors":[` + strings.TrimSuffix(fields, ",") + `]}`))
	e, ok := errors.AsType[*Error](err)
	require.True(t, ok)
	require.Len(t, e.Fields, maxFields)
	require.Equal(t, Unknown, e.Code)
	require.LessOrEqual(t, len(e.Reason), maxShortString)
	require.LessOrEqual(t, len(e.Message), wire.MaxMessage)
	for _, f := range e.Fields {
		require.LessOrEqual(t, len(f.Field), maxShortString)
		require.LessOrEqual(t, len(f.Detail), wire.MaxMessage)
	}
	require.LessOrEqual(t, len(messageOf(DecodeProblem([]byte(`{"title":"`+long+`"}`)))), wire.MaxMessage)
}

// FuzzProblem: whatever the other side answers, the caller gets an error with a code that can travel on.
func FuzzProblem(f *testing.F) {
	for _, seed := range []string{``, `{}`, `null`, `{"code":"not_found","detail":"x","reason":"y"}`, `{"code":5}`, "{\"detail\":\"\xff\"}", `[[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := DecodeProblem(body)
		require.Error(t, err)
		code := CodeOf(err)
		require.Equal(t, code.known(), code)
		again := EncodeProblem(err)
		require.True(t, json.Valid(again))
		require.Equal(t, code, CodeOf(DecodeProblem(again)))
	})
}
