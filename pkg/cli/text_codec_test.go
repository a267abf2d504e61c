package cli_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A radio carries plain text, and a secret word.
var (
	radioSay  = leveret.NewCommand[string]("radio.say", leveret.Encoded(leveret.Text()), leveret.Example("over & out"))
	radioWord = leveret.NewCommand[leveret.Secret]("radio.word", leveret.Encoded(leveret.Text()))
	radioEcho = leveret.NewRequest[string, string]("radio.echo", leveret.Encoded(leveret.Text()))
	radio     = leveret.NewService("radio", leveret.Handles(radioSay, radioWord), leveret.Answers(radioEcho))
)

func atRadio(tb testing.TB, address string, args ...string) *command {
	tb.Helper()
	c := kitchenAt(tb, address, args...)
	c.catalog = leveret.NewCatalog(radio)
	return c
}

// TestTextIsJSONForPeople: a text is given and shown as a JSON string, and travels as it is.
func TestTextIsJSONForPeople(t *testing.T) {
	t.Parallel()
	at := leverettest.Broker(t)
	run := func(want cli.ExitCode, args ...string) *command {
		c := atRadio(t, at, args...)
		require.Equal(t, want, c.run(t.Context()), "%v: %s%s", args, &c.out, &c.err)
		return c
	}
	run(cli.ExitOK, "send", "radio.say", ` "<over> & \"out\"" `)
	lines := atRadio(t, at, "send", "radio.say", "-f", "-", "--lines")
	lines.stdin = strings.NewReader("\"one\"\n\"t{{n}}o\"\n")
	require.Equal(t, cli.ExitOK, lines.run(t.Context()), lines.err.String())
	require.Equal(t, []string{`<over> & "out"`, "one", "t2o"}, bodiesIn(t, at, "radio.say", 3))

	run(cli.ExitOK, "send", "radio.say", `"la{{n}}ter"`, "--after", "1s")
	onBroker(t, at, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ctx, cancel := context.WithCancel(ctx)
		var body, contentType string
		consumer := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "radio.say", Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
			defer cancel()
			body, contentType = string(d.Body), d.ContentType
			return rabbit.Ack
		}})
		require.NoError(tb, consumer.Run(ctx))
		require.Equal(tb, "la1ter", body)
		require.Equal(tb, "text/plain; charset=utf-8", contentType)
	})

	failed := run(cli.ExitUsage, "send", "radio.say", "over and out").err.String()
	require.Contains(t, failed, "the payload does not fit radio.say: the payload is not JSON")
	require.Contains(t, failed, "a text is given as a JSON string: '\"like this\"'; jq -Rs . makes one of a file")
	require.Contains(t, run(cli.ExitUsage, "send", "radio.say", "7").err.String(), "must be a string")

	shown := run(cli.ExitOK, "contracts", "show", "radio.say").out.String()
	require.Contains(t, shown, "content type text/plain; charset=utf-8; people write and read it as JSON\n")
	require.Contains(t, shown, `"over & out"`)
	require.Contains(t, run(cli.ExitOK, "contracts", "show", "radio.say", "-o", "json").out.String(), `"content_type": "text/plain; charset=utf-8"`)
	require.Equal(t, "\"over & out\"\n", run(cli.ExitOK, "contracts", "show", "radio.say", "--example").out.String())
	onBroker(t, at, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		require.NoError(tb, rabbit.NewDeclarer(conn).Declare(ctx, radio.Topology(topology.Names{}, topology.Classic)))
	})
	bury(t, at, "radio.say", 1, "not_found", "<no>")
	bury(t, at, "radio.say", 1, "invalid_argument", "\xff")
	bury(t, at, "radio.word", 1, "not_found", "swordfish")
	letters := run(cli.ExitOK, "dlq", "show", "radio.say", "-o", "jsonl").out.String()
	require.Contains(t, letters, `"payload":"<no>"`)
	require.Contains(t, letters, `"payload_base64":"/w=="`, "what cannot be decoded is shown as it is")
	letters = run(cli.ExitOK, "dlq", "show", "radio.say", "-o", "jsonl", "--where", `payload == "<no>"`).out.String()
	require.Equal(t, 1, strings.Count(letters, "\n"), letters)
	letters = run(cli.ExitOK, "dlq", "show", "radio.word", "-o", "jsonl").out.String()
	require.Contains(t, letters, `"payload":"[secret]"`)
	require.NotContains(t, letters, "swordfish")
}

// TestRepliesAreShownAsJSON: also those that cannot be decoded are shown.
func TestRepliesAreShownAsJSON(t *testing.T) {
	t.Parallel()
	at := leverettest.Broker(t)
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{at}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	broken := leveret.Middleware(func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			err := next(ctx, m)
			if string(m.Body) == "broken" {
				m.Reply = []byte("\xff")
			}
			return err
		}
	})
	h := leveret.NewHandlers(radio, leveret.HandlersConfig{Middleware: []leveret.Middleware{broken}})
	ignore := func(context.Context, string) error { return nil }
	radioSay.Handle(h, ignore)
	radioWord.Handle(h, func(context.Context, leveret.Secret) error { return nil })
	radioEcho.Answer(h, func(_ context.Context, text string) (string, error) { return text + " " + text, nil })
	ready := make(chan struct{})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	<-ready
	c := atRadio(t, at, "call", "radio.echo", `"<hey>"`)
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Equal(t, "\"<hey> <hey>\"\n", c.out.String())
	c = atRadio(t, at, "call", "radio.echo", `"broken"`)
	require.Equal(t, cli.ExitAnswered, c.run(t.Context()), c.err.String())
	require.Contains(t, c.err.String(), "sent a reply that does not fit radio.echo: ")
	require.Contains(t, c.err.String(), "the body is not text/plain; charset=utf-8: it is not UTF-8")
}
