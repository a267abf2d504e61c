package leveret_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// verdictsByID are what a worker reported of messages, by their ids.
type verdictsByID struct{ sync.Map }

func (o *verdictsByID) report(_ context.Context, m *leveret.Message, outcome leveret.Outcome) {
	o.Store(m.ID, outcome)
}

func (o *verdictsByID) await(b *bench, id string) leveret.Outcome {
	b.t.Helper()
	var found any
	b.eventually(func() (ok bool) { found, ok = o.Load(id); return ok }, "no outcome of "+id)
	return found.(leveret.Outcome)
}

// TestReplyToIsNoWayToWrite: a caller who may write to requests alone reaches no queue through the worker's right to
// write. Its request is neither handled nor answered, and the log names the setting that would allow it.
func TestReplyToIsNoWayToWrite(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	var log bytes.Buffer
	var seen verdictsByID
	var handled sync.Map
	conn := b.connect(leveret.ConnConfig{Namespace: "stage", Logger: slog.New(slog.NewTextHandler(&output{to: io.MultiWriter(&log, t.Output())}, nil))})
	w := b.worker(conn, b.service, leveret.WorkerConfig{ReplyTo: []string{"allowed", "theirs.*"}}, leveret.HandlersConfig{OnOutcome: seen.report})
	b.ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) {
		handled.Store(leveret.MessageFrom(ctx).ID, true)
		return answer(v), nil
	})
	r := b.run(w)
	owner, attacker := b.peer(), b.peerAt(b.user("^$", "^stage[.]requests$", "^$"))
	idOf := func(to string) string { return "for " + to[:min(len(to), 100)] }
	ask := func(to string) leveret.Outcome {
		attacker.publish("stage.requests", "stage.a.ask", amqp.Publishing{ReplyTo: to, MessageId: idOf(to), CorrelationId: "c", Body: []byte(`{}`)})
		return seen.await(b.bench, idOf(to))
	}
	owner.queue("b.reserve", "", "")
	for _, to := range []string{
		"b.reserve", "stage.a.ask", "reply.a.1", "stage.repl", "stage.replyx", "theirs", "allowed2", "allow", "amq.rabbitmq.reply-t", "amq.genx", "amq.direct",
		"amq.rabbitmq.trace", "*", ".", " ", "\xff\x00", "\x1b[31m\nlevel=ERROR", "AMQ.GEN-x", " amq.gen-x", strings.Repeat("q", 255),
	} {
		o := ask(to)
		require.Equal(t, leveret.VerdictForbidden, o.Verdict, "%q", to)
		require.Equal(t, "forbidden", o.Verdict.String())
		require.ErrorIs(t, o.Err, leveret.PermissionDenied)
		require.ErrorContains(t, o.Err, "broker.reply_to")
		require.Less(t, len(o.Err.Error()), 600)
		require.NoError(t, o.SettleErr)
		_, was := handled.Load(idOf(to))
		require.False(t, was, "%q", to)
	}
	require.Zero(t, owner.count("b.reserve"))
	for _, to := range []string{"", "allowed", "theirs.", "theirs.1", "stage.reply.x.1", "amq.gen-x"} {
		if to != "" && !strings.HasPrefix(to, "amq.") {
			owner.queue(to, "", "")
		}
		require.Equal(t, leveret.VerdictAck, ask(to).Verdict, "%q", to)
		_, was := handled.Load(idOf(to))
		require.True(t, was, "%q", to)
		if to != "" && !strings.HasPrefix(to, "amq.") {
			require.Equal(t, "c", owner.take(to).CorrelationId)
		}
	}
	require.NoError(t, r.halt())
	require.Contains(t, log.String(), "level=WARN msg=\"request forbidden\"")
	require.Contains(t, log.String(), "broker.reply_to allows more")
	require.NotContains(t, log.String(), "\x1b")
	require.NotContains(t, log.String(), "\nlevel=ERROR")
}

// TestReplyToPatterns: a wildcard stands at the end.
func TestReplyToPatterns(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	conn := b.connect(leveret.ConnConfig{})
	for _, wrong := range []string{"", "*x", "a*b", "**"} {
		_, err := leveret.NewWorker(conn, leveret.NewHandlers(leveret.NewService("b", leveret.Handles(leveret.NewCommand[thing]("b.do"))), leveret.HandlersConfig{}),
			leveret.WorkerConfig{ReplyTo: []string{"fine", wrong}})
		require.Error(t, err)
		h := leveret.NewHandlers(b.service, leveret.HandlersConfig{})
		b.ask.Answer(h, func(context.Context, thing) (answer, error) { return answer{}, nil })
		_, err = leveret.NewWorker(conn, h, leveret.WorkerConfig{ReplyTo: []string{"fine", wrong}})
		require.ErrorIs(t, err, leveret.InvalidArgument)
		require.ErrorContains(t, err, strconv.Quote(wrong))
	}
}

// TestAReplyIsNoCommand: what a worker sends as a reply is taken for nothing else, wherever it arrives, and neither is
// another worker's error. Here the service itself allows every address.
func TestAReplyIsNoCommand(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	do, done := leveret.NewCommand[thing]("b.do"), leveret.NewEvent[thing]("b.done")
	b.service = leveret.NewService("a", leveret.Answers(b.ask), leveret.Handles(do), leveret.SubscribesTo(done))
	var seen verdictsByID
	var wrong atomic.Int64
	w := b.worker(b.connect(leveret.ConnConfig{}), b.service, leveret.WorkerConfig{ReplyTo: []string{"*"}}, leveret.HandlersConfig{OnOutcome: seen.report})
	b.ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) {
		if leveret.MessageFrom(ctx).ID != "asked" {
			wrong.Add(1)
		}
		return answer(v), nil
	})
	handle := func(context.Context, thing) error { wrong.Add(1); return nil }
	do.Handle(w.Handlers, handle)
	done.Subscribe(w.Handlers, handle)
	b.run(w)
	foreign := b.peer()

	for _, queue := range []string{"b.do", "a.on.b.done"} {
		foreign.publish("requests", "a.ask", amqp.Publishing{ReplyTo: queue, MessageId: "asked", Body: []byte(`{"n":1}`)})
		letter := foreign.take(queue + ".dlq")
		require.Equal(t, "invalid_argument", letter.Headers["leveret-error-code"])
		require.Contains(t, letter.Headers["leveret-error-message"], "it is a reply")
		require.JSONEq(t, `{"n":1}`, string(letter.Body))
	}
	for id, m := range map[string]amqp.Publishing{
		"ours":    {Headers: amqp.Table{"leveret-instance": "here/1"}},
		"bytes":   {Headers: amqp.Table{"leveret-instance": []byte("here/1")}},
		"nothing": {Headers: amqp.Table{"leveret-instance": nil}},
		"problem": {ContentType: "application/problem+json"},
		"foreign": {ContentType: "Application/Problem+JSON; charset=utf-8"},
	} {
		m.MessageId, m.Body, m.ReplyTo = id, []byte(`{}`), "nobody"
		foreign.publish("", "b.do", m)
		require.Equal(t, id, foreign.take("b.do.dlq").MessageId)
		m.MessageId = "request " + id
		foreign.publish("requests", "a.ask", m)
		require.Equal(t, leveret.VerdictForbidden, seen.await(b.bench, m.MessageId).Verdict)
	}
	require.Zero(t, wrong.Load())
}

// TestForgedTokens: what a caller writes where the token of its direct reply-to belongs costs nobody but itself the
// answer. RabbitMQ before 4.3 closes the connection on which it is asked to deliver to most of these.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	genuine := make(chan string, 100)
	var handled atomic.Int64
	w := b.worker(b.connect(leveret.ConnConfig{}), b.service, leveret.WorkerConfig{})
	b.ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) {
		if v.N == 0 {
			handled.Add(1)
		} else {
			genuine <- strings.TrimPrefix(leveret.MessageFrom(ctx).ReplyTo, "amq.rabbitmq.reply-to.")
		}
		return answer(v), nil
	})
	b.run(w)
	client, attacker := b.newCaller(), b.peerAt(b.user("^$", "^requests$", "^$"))

	// The first honest call comes behind forged ones, when the worker knows of no node.
	attacker.publish("requests", "a.ask", amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to.g1h2AA==.key", Body: []byte(`{}`)})
	_, err := b.ask.Call(b.ctx, client, thing{N: 1})
	require.NoError(t, err)
	forged := forgedTokens(t, receive(t, genuine))
	for i, token := range forged {
		attacker.publish("requests", "a.ask", amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to." + token, CorrelationId: "c", Body: []byte(`{}`)})
		if i%3 == 0 {
			_, err := b.ask.Call(b.ctx, client, thing{N: i + 1})
			require.NoError(t, err)
		}
	}
	b.eventually(func() bool { return handled.Load() == int64(len(forged))+1 }, "the broker's limits are no reason not to handle them")
	late := b.newCaller()
	_, err = b.ask.Call(b.ctx, late, thing{N: 1})
	require.NoError(t, err)
	require.Zero(t, w.conn.Publishing().State().Lost)
	require.Equal(t, rabbit.Connected, w.conn.Publishing().State().Phase)
	require.NoError(t, w.Ready())
}

// forgedTokens are tokens that a caller could write, made of one that the broker made.
func forgedTokens(t *testing.T, token string) []string {
	t.Helper()
	head, key, _ := strings.Cut(token, ".")
	pid, err := base64.StdEncoding.DecodeString(head)
	require.NoError(t, err)
	with := func(change func(p []byte) []byte) string {
		return base64.StdEncoding.EncodeToString(change(bytes.Clone(pid))) + "." + key
	}
	number := func(at int, n uint32) string { // id, serial or creation
		return with(func(p []byte) []byte { binary.BigEndian.PutUint32(p[len(p)-at:], n); return p })
	}
	return []string{
		"", ".", "abc", head, head + ".", head + ".a.b", head + ".\xff\x00\x01", "g1h2AA==.key", "g2dQBXJhYmJpdAAAAAAAAAAA.abc=", "*.key", "\xff\xfe", strings.Repeat("a", 230),
		head[:len(head)-1] + ".key", head[:8] + "\n" + head[8:] + ".key", head[:8] + " " + head[8:] + ".key",
		with(func(p []byte) []byte { return p[:len(p)-1] }), with(func(p []byte) []byte { return append(p, 1, 2, 3) }),
		with(func(p []byte) []byte { p[len(p)-13] ^= 1; return p }), // of another broker's node
		with(func(p []byte) []byte { return append([]byte("\x83Xw\x10rabbit@localhost"), p[len(p)-12:]...) }),
		with(func([]byte) []byte { return []byte{131, 106} }),
		number(12, 1<<15), number(12, 1<<32-1), number(8, 1<<13), number(8, 1<<32-1), number(4, 0), number(4, 1<<32-1), number(12, 0), number(12, 7),
	}
}
