package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// nasty is what a terminal obeys, hides or turns round, and bytes that are no text.
const nasty = "\x1b[31m\x1b]0;title\x07\x1b[2J\u009b31m\u0090\x7f\u200e\u200f\u061c\u202e\u2066\u200b\ufeff\U000e0041\r\xff\xc3("

// requireShown checks that what was written to a terminal has no control and direction characters but the program's own
// colours.
func requireShown(tb testing.TB, text string, args ...any) {
	tb.Helper()
	for _, ours := range []string{"0", "1", "2", "31", "32", "33"} {
		text = strings.ReplaceAll(text, escape+"["+ours+"m", "")
	}
	text = strings.ReplaceAll(text, escape+"[G"+escape+"[K", "")
	require.True(tb, utf8.ValidString(text), args...)
	for i, r := range text {
		require.False(tb, r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Bidi_Control) || r == '\u200b' || r == '\ufeff' ||
			r >= 0xe0000 && r <= 0xe007f, "%q at %d: %v", text, i, args)
	}
}

// requireJSON checks that each line, or all of it, is JSON in UTF-8 without such characters.
func requireJSON(tb testing.TB, text string, args ...any) {
	tb.Helper()
	requireShown(tb, text, args...)
	require.NotContains(tb, text, escape, args...)
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var v any
		err := decoder.Decode(&v)
		if err == io.EOF {
			return
		}
		require.NoError(tb, err, "%s: %v", text, args)
	}
}

// buryNasty publishes a dead letter all of whose parts are hostile, with a body.
func buryNasty(tb testing.TB, url, queue string, bodies ...string) {
	tb.Helper()
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		for i, body := range bodies {
			require.NoError(tb, publisher.Publish(ctx, &rabbit.Publication{
				RoutingKey: queue + topology.DeadLetterSuffix, Mandatory: true,
				Publishing: rabbit.Publishing{
					MessageId: nasty, Type: nasty, ContentType: nasty, CorrelationId: nasty, AppId: nasty, Body: []byte(body),
					Timestamp: time.Unix(1<<40, 0),
					Headers: rabbit.Table{
						"leveret-failed-queue": queue, "leveret-error-code": nasty, "leveret-error-reason": nasty, "leveret-error-message": nasty + "\n" + nasty,
						"leveret-service": nasty, "leveret-host": nasty, "leveret-failed-at": "99999-01-01T00:00:00Z", nasty: nasty, "bytes": []byte(nasty), "n": int64(i),
						"tables": rabbit.Table{nasty: []any{nasty, int8(1), rabbit.Table{nasty: nasty}}}, "at": time.Unix(1<<40, 0),
						"large": math.MaxFloat64, "small": math.SmallestNonzeroFloat64,
					},
				},
			}))
		}
	})
}

func TestNothingHostileReachesATerminalOrJSON(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	buryNasty(t, url, "oven.bake", `{"a":"`+"\x7f\u009b31m\u202e\u200b\U000e0041"+`"}`, `{"a":"`+"\xff\xc3("+`"}`, nasty, "", `[`+strings.Repeat(`[`, 20_000),
		strings.Repeat(`[`, 9_000)+strings.Repeat(`]`, 9_000))
	management := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.Marshal([]map[string]any{{"name": "q" + nasty, "type": nasty, "state": nasty, "vhost": nasty, "node": nasty, "error": nasty, "reason": nasty}})
		if err != nil {
			return
		}
		_, _ = w.Write(bytes.ReplaceAll(text, []byte(`\u009b`), []byte("\u009b")))
	}))
	t.Cleanup(management.Close)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, `{"error":"`+nasty+`","reason":"`+nasty+`"}`+nasty)
	}))
	t.Cleanup(broken.Close)
	file := filepath.Join(t.TempDir(), "leveret.yaml")
	require.NoError(t, os.WriteFile(file, []byte("broker:\n  url\u202e: \"a\u009b\"\n\"x\\e[2J\": \"\\e[2J\"\n"), 0o600))
	letters := fingerprints(t, url, "oven.bake")
	require.Len(t, letters, 6)
	for _, args := range [][]string{
		{"dlq", "ls"},
		{"dlq", "ls", "oven.bake", "--where", `error contains "title"`},
		{"dlq", "show", "oven.bake"},
		{"dlq", "show", "oven.bake", letters[0]},
		{"dlq", "show", "oven.bake", letters[1]},
		{"dlq", "show", "oven.bake", letters[2]},
		{"dlq", "show", "oven.bake", letters[3]},
		{"dlq", "show", "oven.bake", letters[4]},
		{"dlq", "show", "oven.bake", letters[5]},
		{"dlq", "show", "oven.bake", nasty},
		{"dlq", "show", "oven.bake" + nasty},
		{"dlq", "show", "oven.bake", "--where", `headers["` + nasty + `"] == payload.a.b`},
		{"dlq", "replay", "oven.bake", "--dry-run"},
		{"queues", "--all", "--broker-management-url", management.URL},
		{"queues", "--all", "--broker-management-url", broken.URL},
		{"queues", "--broker-management-url", broken.URL},
		{"queues", nasty},
		{"queues", "--broker-url", "amqp://guest@localhost:1/" + nasty, "--broker-connect-timeout", "100ms"},
		{"call", "oven.price", `{"dish":"` + nasty + `"}`},
		{"call", "oven.price", `{"` + "\u202e\u009b" + `":1}`},
		{"call" + nasty},
		{"send", "oven.bake", "-f", "/nowhere/" + nasty},
		{"send", "oven.bake", "{{random " + nasty + "}}", "-H", nasty},
		{"--" + nasty},
		{"-o", nasty},
		{"help", nasty},
		{"version", nasty},
		{"config", "show", "--config", file},
		{"config", "show", "--config", nasty},
		{"config", "show", "--log-level", nasty},
		{"publish", "--raw", "", nasty, "body"},
	} {
		for _, format := range []string{"text", "json", "jsonl"} {
			c := &command{args: append(args, "-o", format), terminal: true, stdin: strings.NewReader("")}
			if !strings.Contains(strings.Join(args, " "), "amqp://") {
				c = kitchenAt(t, url, c.args...)
				c.terminal, c.stdin = true, strings.NewReader("")
			}
			c.run(t.Context())
			requireShown(t, c.out.String(), args, format)
			requireShown(t, c.err.String(), args, format)
			c.terminal = false
			c.out, c.err = output{}, output{}
			if format != "text" && c.run(t.Context()) != cli.ExitUsage && !strings.Contains(c.out.String(), "Usage:") { // help is text
				requireJSON(t, c.out.String(), args, format)
				requireJSON(t, c.err.String(), args, format)
			}
		}
	}
}

// The nesting would be repeated on each line: 140 kB of it made 1.4 GB.
func TestDeepNestingIsNotIndented(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	body := strings.Repeat(`[`, 8_000) + strings.Repeat("1,", 60_000) + "1" + strings.Repeat(`]`, 8_000)
	buryNasty(t, url, "oven.bake", body)
	letter := fingerprints(t, url, "oven.bake")[0]
	for _, args := range [][]string{
		{"dlq", "show", "oven.bake", letter}, {"dlq", "show", "oven.bake", "-o", "json"}, {"dlq", "show", "oven.bake", letter, "-o", "jsonl"},
	} {
		for _, terminal := range []bool{true, false} {
			c := kitchenAt(t, url, args...)
			c.terminal = terminal
			require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
			require.Contains(t, c.out.String(), body)
			require.Less(t, len(c.out.String()), 8*len(body), args)
		}
	}
}
