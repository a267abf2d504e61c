package deadletter

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

var at = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func TestWhoHadTheLastWord(t *testing.T) {
	t.Parallel()
	worker := rabbit.Table{"leveret-error-code": "not_found", "leveret-error-reason": "no_such_item", "leveret-error-message": "no", "leveret-attempts": int64(5)}
	with := func(more rabbit.Table) rabbit.Table {
		all := rabbit.Table{}
		for _, h := range []rabbit.Table{worker, more} {
			maps.Copy(all, h)
		}
		return all
	}
	death := func(queue, reason string) any {
		return rabbit.Table{"queue": queue, "reason": reason, "time": at, "count": int64(1)}
	}
	for _, c := range []struct {
		name    string
		headers rabbit.Table
		want    Letter
	}{
		{"a worker", worker, Letter{Code: "not_found", Reason: "no_such_item", Error: "no", Attempts: 5}},
		{"the broker", rabbit.Table{"x-death": []any{death("q", "delivery_limit")}}, Letter{Reason: "delivery_limit", FailedAt: at}},
		{
			"the broker, after a retry", with(rabbit.Table{"x-death": []any{death("q", "delivery_limit"), death("retry.1s", "expired")}}),
			Letter{Reason: "delivery_limit", FailedAt: at, Attempts: 5},
		},
		{
			"a worker, and a retry tier", with(rabbit.Table{"x-death": []any{death("retry.1s", "expired")}}),
			Letter{Code: "not_found", Reason: "no_such_item", Error: "no", Attempts: 5},
		},
		{"the broker, in short", rabbit.Table{"x-last-death-reason": "maxlen", "x-first-death-reason": "expired"}, Letter{Reason: "maxlen"}},
		{"nobody", nil, Letter{}},
		{"an attempt", rabbit.Table{"leveret-attempt": int32(3)}, Letter{Attempts: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := Source{Queue: "q"}.letter(rabbit.Delivery{Headers: c.headers})
			c.want.Queue, c.want.Delivery = "q", got.Delivery
			require.Equal(t, &c.want, got)
		})
	}
}

// hostile are headers as a stranger may write them.
func hostile() rabbit.Table {
	return rabbit.Table{
		"x-death":              []any{nil, "x", rabbit.Table{"queue": int64(1)}, rabbit.Table{"queue": "q", "reason": []any{}, "time": "now"}},
		"x-first-death-reason": false, "x-last-death-queue": rabbit.Table{}, "CC": []any{"elsewhere"}, "BCC": "elsewhere",
		"leveret-error-code": []any{"a"}, "leveret-error-message": rabbit.Table{"a": nil}, "leveret-replayed": "-7",
		"leveret-attempts": "99999999999999999999999", "leveret-failed-at": int8(1), "leveret-first-failed-at": "0000-00-00",
		"\x1b[31m": "\x00", strings.Repeat("x", 255): strings.Repeat("y", 1<<10),
	}
}

func TestHostileHeaders(t *testing.T) {
	t.Parallel()
	l := Source{Queue: "q"}.letter(rabbit.Delivery{Headers: hostile()})
	require.Equal(t, []int{1_000_000, 0}, []int{l.Attempts, l.Replayed})
	require.Empty(t, l.Code+l.Error+l.Reason)
	p := Source{Queue: "q"}.returned(l)
	require.Equal(t, int64(1), p.Headers["leveret-replayed"])
	require.Contains(t, p.Headers, "\x1b[31m")
	for _, gone := range []string{"x-death", "x-first-death-reason", "x-last-death-queue", "CC", "BCC", "leveret-error-code", "leveret-attempts", "leveret-failed-at"} {
		require.NotContains(t, p.Headers, gone)
	}
	require.Contains(t, l.Headers, "CC", "the letter itself is as it was")
}

func TestReviveDropsHeadersThatFillTheFrame(t *testing.T) {
	t.Parallel()
	l := Source{Queue: "q"}.letter(rabbit.Delivery{Headers: rabbit.Table{"large": strings.Repeat("x", 100<<10)}, MessageId: "id", UserId: "guest", Expiration: "5", ReplyTo: "r"})
	p := Source{Queue: "q"}.returned(l)
	require.Equal(t, rabbit.Table{"leveret-replayed": int64(1), "leveret-headers-dropped": "larger than 64 KiB"}, p.Headers)
	require.Equal(t, []string{"id", "", "", "r"}, []string{p.MessageId, p.UserId, p.Expiration, p.ReplyTo})
}

func FuzzLetter(f *testing.F) {
	f.Add("q", "leveret-error-code", "not_found", int64(3), []byte("x"))
	f.Add("q", "x-death", "q", int64(-1), []byte{0xff})
	f.Fuzz(func(t *testing.T, queue, name, value string, n int64, raw []byte) {
		for _, v := range []any{value, n, raw, nil, []any{rabbit.Table{"queue": queue, name: value, "time": n}}, rabbit.Table{name: raw}} {
			h := rabbit.Table{name: v, "leveret-replayed": n, "leveret-attempts": value, "x-death": v}
			l := Source{Queue: queue}.letter(rabbit.Delivery{Headers: h, Body: raw})
			p := Source{Queue: "q"}.returned(l)
			require.NotContains(t, p.Headers, "x-death")
			require.Positive(t, p.Headers["leveret-replayed"])
			require.GreaterOrEqual(t, l.Attempts, 0)
			require.NoError(t, p.Headers.Validate())
		}
	})
}
