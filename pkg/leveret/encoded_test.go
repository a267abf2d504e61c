package leveret_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// line is a text that must not be "bad".
type line string

func (l line) Validate() error {
	if l == "bad" {
		return errors.New("must not be bad")
	}
	return nil
}

// TestText: a queue of plain text, on whose other side is a program that knows nothing of us.
func TestText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	said := leveret.NewCommand[line]("log.write", leveret.Encoded(leveret.Text()), quick, leveret.Example(line("a line")))
	upper := leveret.NewRequest[line, []byte]("log.upper", leveret.Encoded(leveret.Bytes()))
	require.ErrorContains(t, leveret.NewService("log", leveret.Answers(upper)).Err(),
		`request "log.upper": application/octet-stream is for payloads and replies of type []uint8, not leveret_test.line`)
	upper = leveret.NewRequest[line, []byte]("log.upper", leveret.Encoded(textOrBytes()), leveret.Timeout(patience))
	service := leveret.NewService("log", leveret.Handles(said), leveret.Sends(said), leveret.Answers(upper), leveret.Calls(upper))
	require.NoError(t, leveret.NewCatalog(service).Err())
	conn := b.connect(leveret.ConnConfig{})
	w := b.worker(conn, service, leveret.WorkerConfig{})
	lines := make(chan line, 9)
	said.Handle(w.Handlers, func(_ context.Context, l line) error { lines <- l; return nil })
	upper.Answer(w.Handlers, func(_ context.Context, l line) ([]byte, error) {
		if l == "decline" {
			return nil, errDeclined
		}
		return bytes.ToUpper([]byte(l)), nil
	})
	b.run(w)
	foreign := b.peer()

	for _, text := range []string{"[kern] <up> & running", "", `{"n":`, "null", "\ufeffmarked", "two\nlines\n"} {
		foreign.publish("commands", "log.write", amqp.Publishing{Body: []byte(text)})
		require.Equal(t, line(text), receive(t, lines))
	}
	foreign.publish("commands", "log.write", amqp.Publishing{MessageId: "1", ContentType: "text/plain", Body: []byte("\xff")})
	d := foreign.take("log.write.dlq")
	require.Equal(t, "invalid_argument", d.Headers["leveret-error-code"])
	require.Contains(t, d.Headers["leveret-error-message"], "the body is not text/plain; charset=utf-8: it is not UTF-8")
	require.Equal(t, "text/plain", d.ContentType, "theirs stays")
	require.Equal(t, "\xff", string(d.Body))
	foreign.publish("commands", "log.write", amqp.Publishing{MessageId: "2", Body: []byte("bad")})
	require.Contains(t, foreign.take("log.write.dlq").Headers["leveret-error-message"], "must not be bad")

	client := b.client(conn, service, leveret.ClientConfig{})
	p := client.Pipeline(nil)
	m, err := said.Message(b.ctx, "in a pipeline")
	require.NoError(t, err)
	require.NoError(t, p.Write(b.ctx, m))
	require.NoError(t, p.Flush(b.ctx))
	require.Equal(t, line("in a pipeline"), receive(t, lines))
	require.ErrorContains(t, said.Send(b.ctx, client, "\xff"), "cannot be encoded as text/plain; charset=utf-8: it is not UTF-8")
	require.ErrorIs(t, said.Send(b.ctx, client, "bad"), leveret.InvalidArgument)
	require.ErrorIs(t, said.Send(b.ctx, client, line(strings.Repeat("x", 17<<20))), leveret.ErrTooLarge)

	reply, err := upper.Call(b.ctx, client, "loud")
	require.NoError(t, err)
	require.Equal(t, "LOUD", string(reply))
	reply, err = upper.Call(b.ctx, client, "")
	require.NoError(t, err)
	require.Equal(t, []byte{}, reply)
	_, err = upper.Call(b.ctx, client, "decline")
	require.ErrorIs(t, err, errDeclined)
	d = foreign.ask("log.upper", amqp.Publishing{CorrelationId: "c", Body: []byte("loud")})
	require.Equal(t, []string{"application/x-either", "LOUD"}, []string{d.ContentType, string(d.Body)})
	d = foreign.ask("log.upper", amqp.Publishing{CorrelationId: "c"})
	require.Equal(t, []string{"application/x-either", ""}, []string{d.ContentType, string(d.Body)})
	d = foreign.ask("log.upper", amqp.Publishing{CorrelationId: "c", Body: []byte("\xff")})
	require.Equal(t, "application/problem+json", d.ContentType)
	require.Contains(t, string(d.Body), "the body is not application/x-either: it is not UTF-8")
	d = foreign.ask("log.upper", amqp.Publishing{CorrelationId: "c", Body: []byte("decline")})
	require.Equal(t, "application/problem+json", d.ContentType)
}

// textOrBytes carries texts as Text does, and bytes as Bytes does.
func textOrBytes() leveret.Codec {
	of := func(pointer any) leveret.Codec {
		if reflect.TypeOf(pointer).Elem().Kind() == reflect.String {
			return leveret.Text()
		}
		return leveret.Bytes()
	}
	return leveret.Codec{
		ContentType: "application/x-either",
		Encode:      func(pointer any) ([]byte, error) { return of(pointer).Encode(pointer) },
		Decode:      func(body []byte, pointer any) error { return of(pointer).Decode(body, pointer) },
	}
}

// TestForeignReceiverOfText: what a program of theirs finds in its queue.
func TestForeignReceiverOfText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	codec := leveret.Bytes()
	codec.ContentType = "image/png"
	drawn := leveret.NewEvent[[]byte]("art.drawn", leveret.Encoded(codec))
	said := leveret.NewEvent[string]("art.said", leveret.Encoded(leveret.Text()))
	client := b.sender(leveret.Publishes(drawn, said))
	foreign := b.peer()
	require.NoError(t, foreign.ExchangeDeclare("events", "topic", true, false, false, false, nil))
	foreign.queue("theirs", "events", "art.*")
	picture := []byte("\x89PNG\x00")
	require.NoError(t, drawn.Publish(b.ctx, client, picture))
	d := foreign.take("theirs")
	require.Equal(t, []string{"image/png", "\x89PNG\x00"}, []string{d.ContentType, string(d.Body)})
	require.NoError(t, drawn.Publish(b.ctx, client, []byte{}))
	require.Empty(t, foreign.take("theirs").Body)
	require.NoError(t, said.Publish(b.ctx, client, "é"))
	d = foreign.take("theirs")
	require.Equal(t, []string{"text/plain; charset=utf-8", "é"}, []string{d.ContentType, string(d.Body)})
	err := drawn.Publish(b.ctx, client, nil)
	require.ErrorIs(t, err, leveret.InvalidArgument)
	require.ErrorContains(t, err, "a nil []uint8 cannot be sent")

	m, err := drawn.Message(b.ctx, picture)
	require.NoError(t, err)
	picture[0] = 'x'
	require.Equal(t, byte(0x89), m.Body[0], "the sender's own memory is the sender's")
}

// TestRoutingKeyOfText: the function gets the decoded payload.
func TestRoutingKeyOfText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	logged := leveret.NewEvent[string]("sys.logged", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{RoutingKey: "kern.*"}),
		leveret.RoutingKey(func(text string) string { return "kern." + text[:2] }))
	client := b.sender(leveret.Publishes(logged))
	foreign := b.peer()
	require.NoError(t, foreign.ExchangeDeclare("events", "topic", true, false, false, false, nil))
	foreign.queue("theirs", "events", "kern.*")
	require.NoError(t, logged.Publish(b.ctx, client, "on fire"))
	require.Equal(t, "kern.on", foreign.take("theirs").RoutingKey)
	require.NoError(t, client.Send(b.ctx, leveret.NewMessage(b.ctx, logged, []byte("up again"))))
	require.Equal(t, "kern.up", foreign.take("theirs").RoutingKey)
}

// number travels as four bytes.
type number struct{ N uint32 }

func numbers() leveret.Codec {
	return leveret.Codec{
		ContentType: "application/x-number",
		Encode: func(pointer any) ([]byte, error) {
			n, _ := pointer.(*number)
			return binary.BigEndian.AppendUint32(nil, n.N), nil
		},
		Decode: func(body []byte, pointer any) error {
			n, _ := pointer.(*number)
			if len(body) != 4 {
				return fmt.Errorf("it has %d bytes, not 4", len(body))
			}
			n.N = binary.BigEndian.Uint32(body)
			return nil
		},
	}
}

// TestMessagesOfACodec: what middleware, transports and tools see.
func TestMessagesOfACodec(t *testing.T) {
	t.Parallel()
	double := leveret.NewRequest[number, number]("math.double", leveret.Encoded(numbers()))
	spec := double.Spec()
	require.Equal(t, "application/x-number", spec.ContentType())
	m, err := double.Message(t.Context(), number{7})
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 7}, m.Body)
	text, err := m.JSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"N":7}`, string(text))
	body, err := m.Encode()
	require.NoError(t, err)
	require.Equal(t, m.Body, body)
	double.SetReply(m, number{14})
	text, err = m.ReplyJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"N":14}`, string(text))
	m.Reply = []byte{0, 0, 0, 9}
	text, err = m.ReplyJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"N":9}`, string(text))
	m.Body = []byte{1}
	_, err = m.JSON()
	require.EqualError(t, err, "invalid_argument: the body is not application/x-number: it has 1 bytes, not 4")
	_, err = double.Decode([]byte("12345"))
	require.ErrorIs(t, err, leveret.InvalidArgument)

	h := leveret.NewHandlers(leveret.NewService("math", leveret.Answers(double)), leveret.HandlersConfig{})
	double.Answer(h, func(_ context.Context, n number) (number, error) { return number{2 * n.N}, nil })
	request := leveret.NewMessage(t.Context(), double, []byte{0, 0, 0, 4})
	require.NoError(t, h.Process(t.Context(), request, nil).Err)
	require.Equal(t, []byte{0, 0, 0, 8}, request.Reply)
	reply, err := double.Process(t.Context(), h, &leveret.Message{ID: "go"}, number{5}) // as over gRPC
	require.NoError(t, err)
	require.Equal(t, number{10}, reply)

	bare := &leveret.Message{Body: []byte("7")}
	text, err = bare.JSON()
	require.NoError(t, err)
	require.Equal(t, "7", string(text), "without a contract")
}

func TestWrongCodecs(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*leveret.Codec){
		"the codec needs ContentType, Encode and Decode":                    func(c *leveret.Codec) { c.Encode = nil },
		"the codec needs ContentType":                                       func(c *leveret.Codec) { c.ContentType = "" },
		"both or neither of ToJSON and FromJSON":                            func(c *leveret.Codec) { c.ToJSON = c.Encode },
		`the content type "application/problem+json; x" is longer than 255`: func(c *leveret.Codec) { c.ContentType = "application/problem+json; x" },
		`command "math.do": application/x-number is for numbers`: func(c *leveret.Codec) {
			c.Check = func(reflect.Type) error { return errors.New("application/x-number is for numbers") }
		},
		strings.Repeat("x", 256) + `" is longer than 255 bytes`: func(c *leveret.Codec) { c.ContentType = strings.Repeat("x", 256) },
	} {
		c := numbers()
		change(&c)
		do := leveret.NewCommand[number]("math.do", leveret.Encoded(c))
		require.ErrorContains(t, leveret.NewService("math", leveret.Handles(do)).Err(), want)
		require.Error(t, do.Send(t.Context(), nil, number{}))
	}
	require.ErrorContains(t, leveret.NewService("a", leveret.Handles(
		leveret.NewCommand[int]("a.do", leveret.Encoded(leveret.Text())))).Err(),
		"text/plain; charset=utf-8 is for payloads and replies of type string, not int")
	require.ErrorContains(t, leveret.NewService("a", leveret.Handles(
		leveret.NewCommand[chan int]("a.do", leveret.Encoded(numbers())))).Err(), "chan int is a chan, which JSON cannot carry")
}

// FuzzText: any bytes are decoded to the same text again, or refused; never anything in between.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "text", "\xff", "\xef\xbb\xbf", `"json"`, "\x00", "a\xc3", "é"} {
		f.Add([]byte(s))
	}
	text := leveret.NewCommand[line]("log.write", leveret.Encoded(leveret.Text()))
	raw := leveret.NewCommand[[]byte]("log.raw", leveret.Encoded(leveret.Bytes()))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := text.Decode(body)
		switch {
		case !utf8.Valid(body), string(body) == "bad":
			require.ErrorIs(t, err, leveret.InvalidArgument)
		default:
			require.NoError(t, err)
			require.Equal(t, string(body), string(got))
			again, err := text.Message(t.Context(), got)
			require.NoError(t, err)
			require.Equal(t, string(body), string(again.Body))
		}
		bytesAgain, err := raw.Decode(body)
		require.NoError(t, err)
		require.NotNil(t, bytesAgain)
		require.Equal(t, string(body), string(bytesAgain))
	})
}
