package wire_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func TestText(t *testing.T) {
	t.Parallel()
	h := rabbit.Table{"s": "a", "b": []byte("b"), "n": int64(1), "nil": nil, "t": rabbit.Table{}}
	require.Equal(t, []string{"a", "b", "", "", "", ""},
		[]string{wire.Text(h, "s"), wire.Text(h, "b"), wire.Text(h, "n"), wire.Text(h, "nil"), wire.Text(h, "t"), wire.Text(nil, "s")})
}

func TestTime(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 1, 2, 15, 4, 5, 6, time.UTC)
	for _, v := range []any{want, wire.FormatTime(want), "2026-01-02T16:04:05.000000006+01:00", []byte(wire.FormatTime(want))} {
		require.True(t, want.Equal(wire.Time(rabbit.Table{"at": v}, "at")), "%v", v)
	}
	for _, v := range []any{nil, "", "now", int64(5), rabbit.Table{}, "2026-13-02T15:04:05Z", time.Unix(-1, 0)} {
		require.True(t, wire.Time(rabbit.Table{"at": v}, "at").IsZero(), "%v", v)
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for _, v := range []any{int64(7), int32(7), int16(7), int8(7), uint8(7), uint16(7), uint32(7), 7, "7", []byte("7")} {
		require.Equal(t, 7, wire.Count(rabbit.Table{"n": v}, "n"), "%T", v)
	}
	for _, v := range []any{nil, int64(-1), "x", "-9999999999999999999999", 7.5, true, []any{7}, time.Now()} {
		require.Zero(t, wire.Count(rabbit.Table{"n": v}, "n"), "%T", v)
	}
	for _, v := range []any{int64(1 << 62), "99999999999999999999999"} {
		require.Equal(t, 1_000_000, wire.Count(rabbit.Table{"n": v}, "n"), "%T", v)
	}
}

func TestCarried(t *testing.T) {
	t.Parallel()
	original := rabbit.Table{
		"x-death": []any{}, "x-first-death-queue": "q", "x-last-death-reason": "r", "x-delivery-count": int64(1), "x-acquired-count": int64(1), "x-stream-offset": int64(7),
		"CC": []any{"a"}, "BCC": []any{"a"}, "x-mine": "kept", "leveret-attempt": int64(2),
	}
	require.Equal(t, rabbit.Table{"x-mine": "kept", "leveret-attempt": int64(2)}, wire.Carried(original))
	require.Len(t, original, 10, "it is a separate table")
	require.Equal(t, rabbit.Table{}, wire.Carried(nil))

	large := rabbit.Table{"a": strings.Repeat("x", 64<<10)}
	require.Equal(t, rabbit.Table{wire.Dropped: "larger than 64 KiB"}, wire.Carried(large))
	require.Equal(t, rabbit.Table{"a": "b"}, wire.Carried(rabbit.Table{"a": "b", "x-death": large}), "what is taken off does not count")
}

func TestCopyTakesOffWhatWouldEndItEarly(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := &rabbit.Delivery{
		Headers: rabbit.Table{"a": "b", "CC": []any{"c"}}, ContentType: "t", ContentEncoding: "e", DeliveryMode: 1, Priority: 3, CorrelationId: "c",
		ReplyTo: "r", Expiration: "1", MessageId: "m", Timestamp: now, Type: "ty", UserId: "u", AppId: "app", Body: []byte("body"),
	}
	require.Equal(t, rabbit.Publishing{
		Headers: rabbit.Table{"a": "b"}, ContentType: "t", ContentEncoding: "e", DeliveryMode: 2, Priority: 3, CorrelationId: "c",
		ReplyTo: "r", MessageId: "m", Timestamp: now, Type: "ty", AppId: "app", Body: []byte("body"),
	}, wire.Copy(d))
}

// A copy has its queue as the routing key: that of the sender is noted, once.
func TestCopyNotesTheRoutingKey(t *testing.T) {
	t.Parallel()
	death := func(queue, key any) any {
		return rabbit.Table{"queue": queue, "reason": "rejected", "routing-keys": []any{key}}
	}
	for _, test := range []struct {
		what string
		d    rabbit.Delivery
		key  any // nil if none is noted
	}{
		{"the name of the queue", rabbit.Delivery{RoutingKey: "q"}, nil},
		{"another", rabbit.Delivery{RoutingKey: "kern.info"}, "kern.info"},
		{"none, to a fanout exchange", rabbit.Delivery{}, ""},
		{"noted before", rabbit.Delivery{RoutingKey: "q", Headers: rabbit.Table{wire.RoutingKey: "kern.info"}}, "kern.info"},
		{"noted before, and empty", rabbit.Delivery{RoutingKey: "q", Headers: rabbit.Table{wire.RoutingKey: ""}}, ""},
		{"dead-lettered by the broker", rabbit.Delivery{
			RoutingKey: "q", Headers: rabbit.Table{"x-death": []any{death("q.dlq", "q"), death("q", "kern.info")}},
		}, "kern.info"},
		{"a forged x-death", rabbit.Delivery{RoutingKey: "q", Headers: rabbit.Table{"x-death": []any{"no table"}}}, nil},
		{"an x-death without keys", rabbit.Delivery{RoutingKey: "q", Headers: rabbit.Table{"x-death": []any{rabbit.Table{"routing-keys": 7}}}}, nil},
		{"an x-death of numbers", rabbit.Delivery{RoutingKey: "q", Headers: rabbit.Table{"x-death": []any{death("q", 7)}}}, nil},
	} {
		require.Equal(t, test.key, wire.CopyOf(&test.d, "q").Headers[wire.RoutingKey], test.what)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", wire.Cut("short", 10))
	require.Equal(t, "1234567…", wire.Cut("1234567890ab", 10))
	require.Equal(t, "éé…", wire.Cut("ééééé", 8), "no half characters")
	require.Equal(t, "a�b", wire.Cut("a\xff\xfeb", 10))
	for range 3 {
		long := wire.Cut(string(make([]byte, 5000))+"\xff\xff", 2<<10)
		require.LessOrEqual(t, len(long), 2<<10)
	}
	bad := make([]byte, 0, 4000)
	for range 2000 {
		bad = append(bad, 'a', 0xff)
	}
	require.LessOrEqual(t, len(wire.Cut(string(bad), 2<<10)), 2<<10)
}
