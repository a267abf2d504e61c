package wire_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// TestFailure: what is put into headers is read from them, and taken off, but for when the message first failed.
func TestFailure(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 6, 1, 12, 0, 0, 7, time.UTC)
	f := wire.Failure{
		Queue: "a.do", Service: "a", Host: "here/1", Code: "not_found", Reason: "order_unknown", Message: "no order 7", Stack: "main.go:1",
		Attempts: 2, At: at, FirstAt: at,
	}
	h := rabbit.Table{"mine": "kept"}
	f.PutRetry(h)
	require.Equal(t, rabbit.Table{
		"mine": "kept", "leveret-attempt": int64(3), "leveret-first-failed-at": "2026-06-01T12:00:00.000000007Z",
		"leveret-failed-at": "2026-06-01T12:00:00.000000007Z", "leveret-error-code": "not_found", "leveret-error-reason": "order_unknown",
		"leveret-error-message": "no order 7",
	}, h)
	wire.Failure{Code: "internal", Attempts: 3, At: at}.PutRetry(h)
	require.NotContains(t, h, "leveret-error-reason", "of an earlier failure")
	f.PutLetter(h)
	require.NotContains(t, h, "leveret-attempt", "of an earlier failure")
	require.Equal(t, f, wire.FailureOf(h))

	later := wire.Failure{Code: "internal", Message: strings.Repeat("x", 1<<20), Stack: strings.Repeat("y", 1<<20), At: at.Add(time.Hour)}
	later.PutLetter(h)
	got := wire.FailureOf(h)
	require.Equal(t, at, got.FirstAt)
	require.Equal(t, at.Add(time.Hour), got.At)
	require.Empty(t, got.Reason, "of an earlier failure")
	require.Len(t, got.Message, wire.MaxMessage)
	require.Len(t, got.Stack, wire.MaxStack)

	wire.ClearFailure(h)
	require.Equal(t, rabbit.Table{"mine": "kept", "leveret-first-failed-at": "2026-06-01T12:00:00.000000007Z"}, h)
}
