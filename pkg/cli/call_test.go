package cli_test

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// Another program may answer, with anything.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	requests, err := ch.Consume("oven.price", "", true, false, false, false, nil)
	require.NoError(t, err)
	const escape = "\x1b[31m"
	for name, c := range map[string]struct {
		reply  amqp.Publishing
		format string
		code   cli.ExitCode
		out    string
		err    string
	}{
		"of the right kind": {
			amqp.Publishing{Body: []byte(`{"price":{"amount":1,"currency":"EUR"}}`), AppId: escape + "app", Headers: amqp.Table{"leveret-instance": "\nerror: me"}},
			"text", cli.ExitOK, `{"price":{"amount":1,"currency":"EUR"}}` + "\n", "^reply \\S+ from \\\\u001b\\[31mapp@ ?error: me\n$",
		},
		"of another kind": {
			amqp.Publishing{Body: []byte(`{"price":{"amount":-1,"currency":"EUR"}}`), AppId: "app"},
			"json", cli.ExitAnswered, "{\n  \"price\": {\n    \"amount\": -1,\n    \"currency\": \"EUR\"\n  }\n}\n",
			`^{"error":{"exit":6,"kind":"answered_with_error","message":"app sent a reply that does not fit oven.price: price.amount: must be >= 0, is -1","fields":.*"next":"kitchen contracts show oven.price`,
		},
		"with a byte order mark": {
			amqp.Publishing{Body: []byte("\ufeff" + `{"price":{"amount":1541815603606036481,"currency":"EUR"}}`)},
			"jsonl", cli.ExitOK, `{"price":{"amount":1541815603606036481,"currency":"EUR"}}` + "\n", "^$",
		},
		"null":             {amqp.Publishing{Body: []byte(`null`)}, "jsonl", cli.ExitAnswered, "null\n", "a reply that does not fit oven.price"},
		"no JSON":          {amqp.Publishing{Body: []byte("gar" + escape + "bage")}, "json", cli.ExitAnswered, "", `"exit":6,.*a reply that does not fit oven.price: the payload is not JSON`},
		"no JSON, as text": {amqp.Publishing{Body: []byte("gar" + escape + "bage")}, "text", cli.ExitAnswered, `gar\u001b[31mbage`, `^error: .*a reply that does not fit oven.price: the payload is not JSON`},
		"no UTF-8": {
			amqp.Publishing{Body: []byte("{\"price\":{\"amount\":1,\"currency\":\"\xff\u202e\"}}")},
			"jsonl", cli.ExitAnswered, `{"price":{"amount":1,"currency":"` + "\ufffd" + `\u202e"}}` + "\n", "not valid UTF-8: byte 34",
		},
		"nothing": {amqp.Publishing{}, "json", cli.ExitAnswered, "", "the payload is empty"},
	} {
		answered := make(chan error, 1)
		go func() {
			d := <-requests
			c.reply.CorrelationId = d.CorrelationId
			answered <- ch.PublishWithContext(t.Context(), "", d.ReplyTo, false, false, c.reply)
		}()
		run := kitchenAt(t, url, "call", "oven.price", `{"dish":"pie"}`, "-o", c.format, "--timeout", "2m")
		require.Equal(t, c.code, run.run(t.Context()), "%s: %s", name, run.err.String())
		require.NoError(t, <-answered)
		require.Equal(t, c.out, run.out.String(), name)
		require.Regexp(t, c.err, run.err.String(), name)
	}
}

// A value that is not as it has to be is shown, but not all of it.
func TestLongValuesAreCut(t *testing.T) {
	t.Parallel()
	c := &command{args: []string{"send", "oven.bake", `{"dish_id":"` + strings.Repeat("a", 1<<20) + `","dish":"pie","minutes":` + strings.Repeat("9", 300) + `}`}}
	require.Equal(t, cli.ExitUsage, c.run(t.Context()))
	require.Less(t, len(c.err.String()), 1000)
	require.Contains(t, c.err.String(), "aaaa…")
}
