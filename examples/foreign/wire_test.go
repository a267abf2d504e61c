package foreign_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/queues"
)

// TestWirePage: the programs of docs/wire.md do what the page says, as they stand there, beside the shop that `leveret dev`
// runs. They touch none of its messages: at the end, all dead letters are their own, and no retry was lost.
func TestWirePage(t *testing.T) { //nolint:tparallel // what follows looks at what they have left
	t.Parallel()
	d, folder := startDev(t), examples(t)
	t.Run("programs", func(t *testing.T) {
		t.Run("send and listen", func(t *testing.T) { t.Parallel(); sendAndListen(t, d, folder) })
		t.Run("call", func(t *testing.T) { t.Parallel(); call(t, d, folder) })
		t.Run("work", func(t *testing.T) { t.Parallel(); work(t, d, folder) })
	})
	ch := d.channel(t)
	for line := range strings.Lines(d.leveret(t, "dlq", "ls", "-o", "jsonl")) {
		require.Contains(t, line, `"service":"mailer"`)
	}
	lost, err := ch.QueueDeclarePassive("retry.lost", true, false, false, false, nil)
	require.NoError(t, err)
	require.Zero(t, lost.Messages)
	require.NotContains(t, d.leveret(t, "retry", "ls", "-o", "jsonl"), `"service":"order"`)
}

// sendAndListen: the shop handles the order that send.py places, listen.py hears of it, and read.py reads of it, as often as it
// is started.
func sendAndListen(t *testing.T, d *dev, folder string) {
	const queue = "mailer.on.order.placed"
	p, ch := start(t, d, folder, "listen.py"), d.channel(t)
	eventually(t, func() bool { return consumers(t, d, queue) == 1 }, "it listens")

	id, ok := strings.CutPrefix(strings.TrimSpace(run(t, d, folder, "send.py")), "sent ")
	require.True(t, ok)
	eventually(t, func() bool { return strings.Contains(p.String(), "placed "+id) }, "it hears of the order: %v", p)
	client := newClient(t, d)
	eventually(t, func() bool {
		reply, err := queues.ShowOrder.Call(t.Context(), client, queues.ShowOrderRequest{OrderID: id, CustomerID: "customer-7"})
		return err == nil && reply.State == "confirmed"
	}, "the shop has seen the order through")

	for range 2 {
		reader := start(t, d, folder, "read.py")
		eventually(t, func() bool { return regexp.MustCompile(`(?m)^offset \d+ \S+ ` + id + `$`).MatchString(reader.String()) }, "it reads of the order: %v", reader)
	}

	// What comes from a retry tier finds its way back, and what cannot be handled is seen by operators.
	publish(t, ch, "retry.1s", queue, amqp.Publishing{Body: []byte(`{"order_id":"again"}`)})
	eventually(t, func() bool { return strings.Contains(p.String(), "placed again") }, "it comes back: %v", p)
	publish(t, ch, "", queue, amqp.Publishing{MessageId: "wrong", Body: []byte(`{}`)})
	eventually(t, func() bool {
		return strings.Contains(d.leveret(t, "dlq", "ls", "-o", "jsonl"), `"queue":"`+queue+`"`)
	}, "operators see its dead letters")
	require.Contains(t, d.leveret(t, "dlq", "show", queue, "wrong", "-o", "json"), "KeyError")
}

// call: the shop answers call.py.
func call(t *testing.T, d *dev, folder string) {
	said, ok := strings.CutPrefix(run(t, d, folder, "call.py"), "reply ")
	require.True(t, ok, said)
	var reply queues.AuthorizePaymentReply
	require.NoError(t, json.Unmarshal([]byte(said), &reply))
	require.NoError(t, reply.Validate())
}

// TestCallWithoutAnAnswer: call.py does not wait for ever for a worker that is busy, although the broker drops the request.
func TestCallWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	d := &dev{url: leverettest.Broker(t)}
	ch := d.channel(t)
	require.NoError(t, ch.ExchangeDeclare("requests", "direct", true, false, false, false, nil))
	_, err := ch.QueueDeclare("payment.authorize", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind("payment.authorize", "payment.authorize", "requests", false, nil))
	require.Equal(t, "no answer: the outcome is unknown", strings.TrimSpace(run(t, d, examples(t), "call.py")))

	_, err = ch.QueueDelete("payment.authorize", false, false, false)
	require.NoError(t, err)
	require.Equal(t, "nobody serves it", strings.TrimSpace(run(t, d, examples(t), "call.py")))
}

// TestWorkerReadsHeaders: worker.py takes from headers what the page says, and ignores all else.
func TestWorkerReadsHeaders(t *testing.T) {
	t.Parallel()
	folder := examples(t)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "headers.py"), []byte(`
import datetime
from worker import count, wait

for value in (4, "4", b"4"):
    assert count(value) == 4, value
for value in (4.5, 4.0, "4.5", None, True, "four", -1, [4], {}, b"\xff"):
    assert count(value) == 1, value
assert count(1 << 64) == 1_000_000

later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
east = later.astimezone(datetime.timezone(datetime.timedelta(hours=2)))
for value in (later, later.replace(tzinfo=None), later.isoformat(), east.isoformat(), later.strftime("%Y-%m-%dT%H:%M:%SZ"),
              later.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"), later.strftime("%Y-%m-%dT%H:%M:%S.1Z").encode()):
    assert 0 < wait(value) <= 3601, value
for value in (None, 7, "", "soon", [], {}, b"\xff", "9999-12-31T23:59:59Z", "2001-01-01T00:00:00Z", later.isoformat()[:19]):
    assert wait(value) <= 0, value
`), 0o600))
	require.Empty(t, run(t, &dev{}, folder, "headers.py"))
}

// A mail is the payload of the command that work.py handles.
type mail struct {
	To   string `json:"to"`
	Text string `json:"text"`
}

// work: work.py handles what Leveret and others send. It is the only worker of its queue, and declares it all.
func work(t *testing.T, d *dev, folder string) {
	const queue = "mailer.send"
	sendMail := leveret.NewCommand[mail](queue)
	p, ch := start(t, d, folder, "work.py"), d.channel(t)
	client := newClient(t, d, leveret.Sends(sendMail))
	eventually(t, func() bool { return consumers(t, d, queue) == 1 }, "it works")

	// While the outbox cannot be written, mails fail, and wait for the next attempt. An operator need not.
	outbox := filepath.Join(folder, "outbox.txt")
	require.NoError(t, os.Mkdir(outbox, 0o700))
	require.NoError(t, sendMail.Send(t.Context(), client, mail{To: "ada", Text: "too late"}, leveret.MessageID("m-1")))
	eventually(t, func() bool {
		_ = d.command(t, "retry", "release", queue, "--yes").Run() // fails while nothing waits
		letters, err := ch.QueueDeclarePassive(queue+".dlq", true, false, false, false, nil)
		require.NoError(t, err)
		return letters.Messages == 1
	}, "it gives up: %v", p)
	letter := take(t, ch, queue+".dlq")
	require.Equal(t, "m-1", letter.MessageId)
	require.EqualValues(t, 5, letter.Headers["leveret-attempts"])
	require.Equal(t, "unknown", letter.Headers["leveret-error-code"])
	require.NotContains(t, letter.Headers, "leveret-attempt")
	require.NotEqual(t, letter.Headers["leveret-first-failed-at"], letter.Headers["leveret-failed-at"])

	// A copy has what is the sender's, and nothing of what would lead it astray or end it early.
	publish(t, ch, "commands", queue, amqp.Publishing{
		MessageId: "m-2", Body: []byte(`{"to":"bob","text":"too late"}`), Expiration: "600000", UserId: "guest", Priority: 3, DeliveryMode: 1,
		Headers: amqp.Table{"CC": []any{queue, "mailer.on.order.placed"}, "leveret-attempt": "3", "x-mine": "kept", "CCC": "kept", "x-death": "forged"},
	})
	waiting := take(t, ch, "retry.1m")
	require.EqualValues(t, 4, waiting.Headers["leveret-attempt"])
	require.Equal(t, "kept", waiting.Headers["x-mine"])
	require.Equal(t, "kept", waiting.Headers["CCC"])
	require.Subset(t, []string{
		"leveret-attempt", "leveret-error-code", "leveret-error-message", "leveret-failed-at", "leveret-first-failed-at", "x-mine", "CCC",
		"x-delivery-count", "x-acquired-count", // of looks into the retry tier
	}, slices.Collect(maps.Keys(waiting.Headers)))
	require.Equal(t, []any{"m-2", "", "", uint8(3), uint8(2)},
		[]any{waiting.MessageId, waiting.Expiration, waiting.UserId, waiting.Priority, waiting.DeliveryMode})

	// Once the outbox can be written, a mail that has failed is sent.
	require.NoError(t, sendMail.Send(t.Context(), client, mail{To: "bob", Text: "hello"}, leveret.MessageID("m-3")))
	eventually(t, func() bool {
		return strings.Contains(d.leveret(t, "retry", "ls", queue, "--each", "-o", "jsonl"), `"id":"m-3"`)
	}, "it waits for a retry: %v", p)
	require.NoError(t, os.Remove(outbox))
	_ = d.command(t, "retry", "release", queue, "--yes").Run() // it may be back already
	sent := func() string {
		text, err := os.ReadFile(outbox)
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
		}
		return string(text)
	}
	eventually(t, func() bool { return sent() != "" }, "it is sent once the outbox can be written: %v", p)

	// A person sends one as the page says.
	require.Equal(t, "m-3 to bob: hello\n", sent())
	page, err := os.ReadFile("../../docs/wire.md")
	require.NoError(t, err)
	command := regexp.MustCompile("(?m)^leveret (send --raw .*) '(.*)'$").FindStringSubmatch(string(page))
	require.NotNil(t, command)
	d.leveret(t, append(strings.Fields(command[1]), command[2])...)
	eventually(t, func() bool { return strings.HasSuffix(sent(), " to ada: hello\n") }, "a person can send one: %v", p)
	all := sent()

	// What is wrong with a message does not change: it is given up at once, whatever else it says.
	publish(t, ch, "commands", queue, amqp.Publishing{MessageId: "m-4", Body: []byte(`{"to":"eve"`)})
	require.Equal(t, "invalid_argument", take(t, ch, queue+".dlq").Headers["leveret-error-code"])
	publish(t, ch, "commands", queue, amqp.Publishing{
		MessageId: "m-6", Body: []byte(`{"to":"eve"}`), Headers: amqp.Table{"mine": int64(-7)},
	})
	require.Contains(t, take(t, ch, queue+".dlq").Headers, "x-death", "pika cannot copy it: it is rejected")
	attempts := []any{
		"4", []byte("4"), "", "four", "-1", "99999999999999999999999", int64(-1 << 63), int64(1<<63 - 1), int32(4), 4.5, math.MaxFloat64,
		true, nil,
		amqp.Table{"n": 1},
		[]any{4},
		time.Unix(4, 0),
		amqp.Decimal{Scale: 1, Value: 40},
	}
	for _, attempt := range attempts {
		publish(t, ch, "commands", queue, amqp.Publishing{
			MessageId: "odd", Body: []byte(`[]`), Headers: amqp.Table{"leveret-attempt": attempt, "leveret-not-before": attempt},
		})
		letter := take(t, ch, queue+".dlq")
		require.Equal(t, "invalid_argument", letter.Headers["leveret-error-code"], "%v", attempt)
		require.Regexp(t, "^[1-9][0-9]*$", fmt.Sprint(letter.Headers["leveret-attempts"]), "%v", attempt)
	}
	publish(t, ch, "commands", queue, amqp.Publishing{
		MessageId: "m-5", Body: []byte(`{"to":"eve","text":"early"}`),
		Headers: amqp.Table{"leveret-not-before": time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)},
	})
	early := take(t, ch, "retry.10m")
	require.Contains(t, early.Headers, "leveret-not-before", "too early; it stays as it is")
	require.NotContains(t, early.Headers, "leveret-attempt")
	require.Equal(t, all, sent(), "each mail once, and no other")
}

// consumers returns how many programs consume from a queue; 0 if it does not exist.
func consumers(t *testing.T, d *dev, queue string) int {
	t.Helper()
	var row struct{ Consumers int }
	listed := d.leveret(t, "queues", queue, "--all", "-o", "jsonl")
	if listed != "" {
		require.NoError(t, json.Unmarshal([]byte(listed), &row))
	}
	return row.Consumers
}

// newClient returns a client of the shop.
func newClient(t *testing.T, d *dev, roles ...leveret.ServiceOption) *leveret.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{d.url}})
	require.NoError(t, err)
	client, err := leveret.NewClient(conn, leveret.NewService("tester", append(roles, leveret.Calls(queues.ShowOrder))...), leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, client.Close(ctx))
		require.NoError(t, conn.Close(ctx))
	})
	return client
}
