package leveret_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// logged keeps what is logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(l.b.String(), "\n")
}

type timed struct {
	At time.Time `json:"at"`
}

// What a message holds is in UTF-8 and short wherever it is reported: one text that is not would make a collector refuse
// the spans of others, and a log record could be as long as a message.
func TestReportsOfAHostileMessageAreShortUTF8(t *testing.T) {
	t.Parallel()
	b := setup(t)
	spans := tracetest.NewSpanRecorder()
	log := &logged{}
	do := leveret.NewCommand[timed]("a.do", leveret.Retry(leveret.RetryPolicy{Attempts: 1}))
	a := leveret.NewService("a", leveret.Handles(do))
	conn := b.connect(leveret.ConnConfig{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), Logger: slog.New(slog.NewJSONHandler(log, nil)),
	})
	w := b.worker(conn, a, leveret.WorkerConfig{})
	long := strings.Repeat("long \xff", 100_000)
	do.Handle(w.Handlers, func(context.Context, timed) error { return fmt.Errorf("no: %s", long) })
	b.run(w)
	peer := b.peer()
	id := "\xff\xc3(" + strings.Repeat("i", 250)
	for _, body := range []string{`{"at":"2026-01-02T15:04:05Z"}`, `{"at":"` + strings.Repeat("1", 500_000) + `"}`} {
		peer.publish("commands", "a.do", amqp.Publishing{MessageId: id, CorrelationId: id, AppId: id, Type: id, Body: []byte(body), Headers: amqp.Table{
			"tracestate": "\xff=\xff", "traceparent": "\xff", "baggage": "a=%ff",
		}})
	}
	b.eventually(func() bool {
		return len(spans.Ended()) == 2 && strings.Count(strings.Join(log.lines(), ""), "dead-lettering") == 2
	}, "two failures")
	for _, span := range spans.Ended() {
		require.True(t, utf8.ValidString(span.Name()))
		require.True(t, utf8.ValidString(span.Status().Description))
		require.LessOrEqual(t, len(span.Status().Description), 2<<10)
		for key, value := range attributes(span) {
			require.True(t, utf8.ValidString(value), key)
			require.LessOrEqual(t, len(value), 255, key)
		}
	}
	for _, line := range log.lines() {
		require.Less(t, len(line), 8<<10)
	}
}
