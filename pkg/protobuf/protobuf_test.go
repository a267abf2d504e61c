package protobuf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/typepb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/compat"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/schema"

	"github.com/leveretmq/leveret/pkg/protobuf"
	billingv1 "github.com/leveretmq/leveret/pkg/protobuf/internal/testproto/leveret/billing/v1"
)

// ChargeCard and AskCharge carry generated messages, as another team's programs know them.
var (
	ChargeCard = leveret.NewCommand[*billingv1.Charge]("billing.charge", leveret.Encoded(protobuf.Codec()),
		leveret.Example(&billingv1.Charge{OrderId: "7", Total: &billingv1.Money{Amount: 999, Currency: "EUR"}, CardNumber: "4111"}))
	AskCharge = leveret.NewRequest[*billingv1.Charge, *billingv1.Receipt]("billing.ask", leveret.Encoded(protobuf.Codec()))
)

var (
	billing = leveret.NewService("billing", leveret.Handles(ChargeCard), leveret.Answers(AskCharge))
	shop    = leveret.NewService("shop", leveret.Sends(ChargeCard), leveret.Calls(AskCharge))
	catalog = leveret.NewCatalog(billing, shop)
)

var charge = &billingv1.Charge{OrderId: "7", Total: &billingv1.Money{Amount: 1 << 60, Currency: "EUR"}, CardNumber: "4111"}

func handlers(charged chan<- *billingv1.Charge) *leveret.Handlers {
	h := leveret.NewHandlers(billing, leveret.HandlersConfig{})
	ChargeCard.Handle(h, func(_ context.Context, c *billingv1.Charge) error {
		if c.GetOrderId() == "declined" {
			return leveret.NewError(leveret.FailedPrecondition, "card_declined", "the card was declined")
		}
		charged <- c
		return nil
	})
	AskCharge.Answer(h, func(_ context.Context, c *billingv1.Charge) (*billingv1.Receipt, error) {
		switch c.GetOrderId() {
		case "":
			return &billingv1.Receipt{}, nil
		case "nil":
			return nil, nil //nolint:nilnil // the mistake under test
		}
		return &billingv1.Receipt{Authorization: "A" + c.GetOrderId(), State: billingv1.State_STATE_PAID}, nil
	})
	return h
}

// connect returns a connection that ends with the test.
func connect(t *testing.T, url string) *leveret.Conn {
	t.Helper()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	return conn
}

// work runs the billing service until the test ends.
func work(t *testing.T, conn *leveret.Conn, h *leveret.Handlers) {
	t.Helper()
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
}

// A peer is a program that knows nothing of Leveret.
type peer struct {
	*amqp.Channel

	t *testing.T
}

func newPeer(t *testing.T, url string) *peer {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return &peer{ch, t}
}

func (p *peer) take(queue string) amqp.Delivery {
	p.t.Helper()
	var d amqp.Delivery
	require.Eventually(p.t, func() bool {
		var ok bool
		var err error
		d, ok, err = p.Get(queue, true)
		return err == nil && ok
	}, 2*time.Minute, 5*time.Millisecond)
	return d
}

// TestForeignPrograms: proto.Marshal on one side, and on the other.
func TestForeignPrograms(t *testing.T) {
	t.Parallel()
	require.NoError(t, catalog.Err())
	at := leverettest.Broker(t)
	conn := connect(t, at)
	client, err := leveret.NewClient(conn, shop, leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.WithoutCancel(t.Context()))) })
	foreign := newPeer(t, at)

	require.NoError(t, ChargeCard.Send(t.Context(), client, charge)) // before there is a worker
	d := foreign.take("billing.charge")
	require.Equal(t, protobuf.ContentType, d.ContentType)
	theirs := new(billingv1.Charge)
	require.NoError(t, proto.Unmarshal(d.Body, theirs))
	require.True(t, proto.Equal(charge, theirs))
	require.ErrorContains(t, ChargeCard.Send(t.Context(), client, nil), "a nil *billingv1.Charge cannot be sent")
	require.ErrorContains(t, ChargeCard.Send(t.Context(), client, &billingv1.Charge{OrderId: "\xff"}), "cannot be encoded as application/x-protobuf: ")

	charged := make(chan *billingv1.Charge, 9)
	work(t, conn, handlers(charged))
	publish := func(body []byte) {
		require.NoError(t, foreign.PublishWithContext(t.Context(), "commands", "billing.charge", true, false, amqp.Publishing{Body: body}))
	}
	body, err := proto.Marshal(charge)
	require.NoError(t, err)
	publish(body)
	require.True(t, proto.Equal(charge, <-charged))
	publish(nil) // is a message of nothing but zeros
	require.True(t, proto.Equal(&billingv1.Charge{}, <-charged))
	publish([]byte(`{"order_id":"7"}`))
	d = foreign.take("billing.charge.dlq")
	require.Contains(t, d.Headers["leveret-error-message"], "the body is not application/x-protobuf: ")
	require.Equal(t, "invalid_argument", d.Headers["leveret-error-code"])

	receipt, err := AskCharge.Call(t.Context(), client, charge)
	require.NoError(t, err)
	require.Equal(t, "A7", receipt.GetAuthorization())
	receipt, err = AskCharge.Call(t.Context(), client, &billingv1.Charge{})
	require.NoError(t, err, "both are empty")
	require.True(t, proto.Equal(&billingv1.Receipt{}, receipt))
	_, err = AskCharge.Call(t.Context(), client, &billingv1.Charge{OrderId: "nil"})
	require.ErrorIs(t, err, leveret.Internal)
	require.ErrorContains(t, err, "a nil *billingv1.Receipt cannot be sent")

	replies, err := foreign.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	require.NoError(t, err)
	ask := func(body []byte) amqp.Delivery {
		require.NoError(t, foreign.PublishWithContext(t.Context(), "requests", "billing.ask", true, false,
			amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "c", Body: body}))
		return <-replies
	}
	d = ask(body)
	require.Equal(t, protobuf.ContentType, d.ContentType)
	got := new(billingv1.Receipt)
	require.NoError(t, proto.Unmarshal(d.Body, got))
	require.Equal(t, billingv1.State_STATE_PAID, got.GetState())
	d = ask(nil)
	require.Equal(t, protobuf.ContentType, d.ContentType)
	require.Empty(t, d.Body)
	require.Equal(t, "application/problem+json", ask([]byte("\xff")).ContentType)
}

// TestCommandLine: people write and read JSON, whose secrets are hidden.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	at := leverettest.Broker(t)
	conn := connect(t, at)
	charged := make(chan *billingv1.Charge, 9)
	work(t, conn, handlers(charged))
	run := func(want cli.ExitCode, args ...string) string { return program(t, at, want, args...) }

	run(0, "send", "billing.charge", `{"orderId":"8","total":{"amount":5}}`)
	require.True(t, proto.Equal(&billingv1.Charge{OrderId: "8", Total: &billingv1.Money{Amount: 5}}, <-charged))
	run(0, "send", "billing.charge", `{"order_id":"9","total":{"amount":"6"}}`)
	require.Equal(t, int64(6), (<-charged).GetTotal().GetAmount())
	require.Contains(t, run(cli.ExitUsage, "send", "billing.charge", `{"orderId":8}`), "orderId: must be a string")
	require.Contains(t, run(cli.ExitUsage, "send", "billing.charge", `{"order":"8"}`), "the payload does not fit billing.charge")
	require.JSONEq(t, `{"authorization":"A8","state":"STATE_PAID"}`, run(0, "call", "billing.ask", `{"orderId":"8"}`, "-o", "json"))

	run(0, "send", "billing.charge", `{"orderId":"declined","total":{"amount":"7","currency":"EUR"},"cardNumber":"4111222233334444"}`)
	foreign := newPeer(t, at)
	require.NoError(t, foreign.PublishWithContext(t.Context(), "commands", "billing.charge", true, false, amqp.Publishing{Body: []byte("\xff4111")}))
	var letters []struct {
		Code          string          `json:"code"`
		ContentType   string          `json:"content_type"`
		Payload       json.RawMessage `json:"payload"`
		PayloadText   *string         `json:"payload_text"`
		PayloadBase64 *string         `json:"payload_base64"`
	}
	require.Eventually(t, func() bool {
		letters = nil
		require.NoError(t, json.Unmarshal([]byte(run(0, "dlq", "show", "billing.charge", "-o", "json")), &letters))
		return len(letters) == 2
	}, 2*time.Minute, 50*time.Millisecond)
	if letters[0].Code != "failed_precondition" {
		letters[0], letters[1] = letters[1], letters[0]
	}
	require.JSONEq(t, `{"orderId":"declined","total":{"amount":"7","currency":"EUR"},"cardNumber":"[secret]"}`, string(letters[0].Payload))
	require.Equal(t, protobuf.ContentType, letters[0].ContentType)
	require.NotNil(t, letters[1].PayloadText)
	require.Contains(t, *letters[1].PayloadText, "[secret]", "it may be one")
	require.NotContains(t, *letters[1].PayloadText, "4111")
	require.Contains(t, run(0, "dlq", "show", "billing.charge", "--where", `payload.total.amount == "7"`, "-o", "json"), `"declined"`)
	require.NotContains(t, run(0, "dlq", "show", "billing.charge", "--where", `payload.cardNumber startsWith "4"`, "-o", "json"), `"declined"`)

	shown := run(0, "contracts", "show", "billing.charge")
	require.Contains(t, shown, "content type application/x-protobuf")
	require.Contains(t, shown, `"cardNumber": "[secret]"`)
	require.Contains(t, shown, `"amount": "999"`)
	example := run(0, "contracts", "show", "billing.charge", "--example")
	require.NotContains(t, example, "4111")
	run(0, "send", "billing.charge", example)
	require.Equal(t, "7", (<-charged).GetOrderId())
}

// program runs the command line, and returns what it prints: on standard output, or, where it fails, to standard error.
func program(t *testing.T, at string, want cli.ExitCode, args ...string) string {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	password, _ := u.User.Password()
	u.User = url.User(u.User.Username())
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(password), 0o600))
	u.User = nil
	var out, failed bytes.Buffer
	code := cli.Run(t.Context(), cli.Config{
		Catalog: catalog, Name: "billing",
		Args: append(args, "--broker-url", u.String(), "--broker-password-file", file),
		Streams: &term.Streams{
			In: bytes.NewReader(nil), Out: &out, Err: &failed, Env: func(string) string { return "" },
			Size: func() (int, int) { return 120, 50 },
		},
	})
	require.Equal(t, want, code, "%v: %s%s", args, &out, &failed)
	if code != 0 {
		return failed.String()
	}
	return out.String()
}

// TestOverHTTP: the JSON of people, and its schema in the document.
func TestOverHTTP(t *testing.T) {
	t.Parallel()
	lenient, err := httprpc.NewServer(handlers(nil), httprpc.ServerConfig{})
	require.NoError(t, err)
	server, err := httprpc.NewServer(handlers(nil), httprpc.ServerConfig{Strict: true})
	require.NoError(t, err)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	caller, err := httprpc.NewCaller(httprpc.CallerConfig{Service: shop, URLs: []string{listening.URL}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, caller.Close()) })
	receipt, err := AskCharge.Call(t.Context(), caller, charge)
	require.NoError(t, err)
	require.True(t, proto.Equal(&billingv1.Receipt{Authorization: "A7", State: billingv1.State_STATE_PAID}, receipt))

	post := func(body string) (int, string) {
		response, err := listening.Client().Post(listening.URL+"/billing.ask", "application/json", bytes.NewBufferString(body))
		require.NoError(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(text)
	}
	status, text := post(`{"orderId":"8"}`)
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"authorization":"A8","state":"STATE_PAID"}`, text)
	for _, wrong := range []string{`{"orderId":8}`, `{"orderId":"8","added":1}`, `{"total":{"sum":1}}`} {
		status, text = post(wrong)
		require.Equal(t, 400, status, text)
		require.Contains(t, text, `"errors":[`)
	}
	status, text = post(`{"order_id":"8","total":{"amount":1}}`)
	require.Equal(t, 200, status, text)
	loose := httptest.NewServer(lenient)
	t.Cleanup(loose.Close)
	response, err := loose.Client().Post(loose.URL+"/billing.ask", "application/json", strings.NewReader(`{"orderId":"8","added":1,"total":{"sum":1}}`))
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode, "it may be of a newer release")
	require.NoError(t, response.Body.Close())
	for _, wrong := range []string{`{"cardNumber":4711}`, `{"orderId":8,"cardNumber":4711}`, `{"cardNumber":"4711","card_number":"4711"}`, `{"cardNumber":4711`, `4711`} {
		response, err := loose.Client().Post(loose.URL+"/billing.ask", "application/json", strings.NewReader(wrong))
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 400, response.StatusCode, "%s", body)
		require.NotContains(t, string(body), "4711")
		if strings.HasPrefix(wrong, `{"cardNumber":4711}`) {
			require.Contains(t, string(body), "cardNumber: must be a string")
		}
	}
	response, err = listening.Client().Get(listening.URL + "/openapi.json")
	require.NoError(t, err)
	defer response.Body.Close()
	document, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Contains(t, string(document), "leveret.billing.v1.Money")
	require.Contains(t, string(document), "STATE_DECLINED")
}

// TestNewReplyOverHTTP: a caller ignores what a newer server adds to a reply, and says of one that it cannot read no more
// than what it is not.
func TestNewReplyOverHTTP(t *testing.T) {
	t.Parallel()
	replies := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, <-replies)
	}))
	t.Cleanup(server.Close)
	caller, err := httprpc.NewCaller(httprpc.CallerConfig{Service: shop, URLs: []string{server.URL}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, caller.Close()) })
	replies <- `{"authorization":"A7","state":"STATE_REFUNDED","added":{"x":[1]}}`
	receipt, err := AskCharge.Call(t.Context(), caller, charge)
	require.NoError(t, err)
	require.True(t, proto.Equal(&billingv1.Receipt{Authorization: "A7"}, receipt))
	replies <- `{"authorization":4711}`
	_, err = AskCharge.Call(t.Context(), caller, charge)
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "authorization: must be a string")
	require.NotContains(t, err.Error(), "4711")
}

// TestErrorsQuoteNothing: where and in which field the JSON is wrong, but not what it is.
func TestErrorsQuoteNothing(t *testing.T) {
	t.Parallel()
	read := protobuf.Codec().FromJSON
	for _, test := range []struct{ text, want string }{
		{`{"cardNumber":4711}`, "invalid value for string field cardNumber (line 1, column 15)"},
		{`{"total":{"amount":"4711x"}}`, "invalid value for int64 field amount (line 1, column 20)"},
		{`{"cardNumber":"4711","card_number":"4711"}`, "it does not fit the message (line 1, column 22)"},
		{"{\n4711:1}", "it does not fit the message (line 2, column 1)"},
		{`4711`, "it does not fit the message (line 1, column 1)"},
		{``, "it does not fit the message (line 1, column 1)"},
	} {
		var c *billingv1.Charge
		require.EqualError(t, read([]byte(test.text), &c), test.want, test.text)
	}
	var e *billingv1.Everything
	require.EqualError(t, read([]byte(`{"byNumber":{"4711x":"y"}}`), &e), "invalid value for int32 key (line 1, column 14)")
	require.EqualError(t, read([]byte(`{"took":"4711"}`), &e), "it does not fit the message (line 1, column 9)")
	var u *descriptorpb.UninterpretedOption
	require.EqualError(t, read([]byte(`{"name":[{}]}`), &u), "required field google.protobuf.UninterpretedOption.NamePart.name_part not set")
}

// TestWhatIsNotInTheDescriptorIsHidden: an Any as a whole, and an extension by its own option.
func TestWhatIsNotInTheDescriptorIsHidden(t *testing.T) {
	t.Parallel()
	inside, err := anypb.New(&billingv1.Charge{OrderId: "open", CardNumber: "4711"})
	require.NoError(t, err)
	option := leveret.NewCommand[*typepb.Option]("a.do", leveret.Encoded(protobuf.Codec())).Spec()
	body, err := proto.Marshal(&typepb.Option{Name: "x", Value: inside})
	require.NoError(t, err)
	require.Equal(t, `{"name":"x","value":"[secret]"}`, shown(t, option, body))
	body, err = proto.Marshal(inside)
	require.NoError(t, err)
	require.Equal(t, `"[secret]"`, shown(t, leveret.NewCommand[*anypb.Any]("a.do", leveret.Encoded(protobuf.Codec())).Spec(), body))
	s, err := schema.Payload(option)
	require.NoError(t, err)
	_, err = s.ToBody(s.Example())
	require.NoError(t, err, "%s", s.Example())

	field := func(name string, number int32, options *descriptorpb.FieldOptions) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: new(name), Number: new(number), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Options: options,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Extendee: new(".google.protobuf.FileOptions"),
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("extensions.proto"), Package: new("test"), Dependency: []string{"google/protobuf/descriptor.proto"},
		Extension: []*descriptorpb.FieldDescriptorProto{
			field("open", 50001, nil), field("hidden", 50002, &descriptorpb.FieldOptions{DebugRedact: new(true)}),
		},
	}, protoregistry.GlobalFiles)
	require.NoError(t, err)
	extended := &descriptorpb.FileOptions{GoPackage: new("x")}
	for i, value := range []string{"seen", "4711"} {
		x := dynamicpb.NewExtensionType(file.Extensions().Get(i))
		require.NoError(t, protoregistry.GlobalTypes.RegisterExtension(x))
		proto.SetExtension(extended, x, value)
	}
	body, err = proto.Marshal(extended)
	require.NoError(t, err)
	spec := leveret.NewCommand[*descriptorpb.FileOptions]("a.do", leveret.Encoded(protobuf.Codec())).Spec()
	text := shown(t, spec, body)
	require.Contains(t, text, `"[test.open]":"seen"`)
	require.Contains(t, text, `"[test.hidden]":"[secret]"`)
	s, err = schema.Payload(spec)
	require.NoError(t, err)
	text2, err := s.FromBody(body)
	require.NoError(t, err)
	_, err = s.Check(text2)
	require.NoError(t, err)
}

// shown returns a body as people see it.
func shown(t *testing.T, spec leveret.Spec, body []byte) string {
	t.Helper()
	s, err := schema.Payload(spec)
	require.NoError(t, err)
	text, err := s.FromBody(body)
	require.NoError(t, err)
	return string(s.Redact(text))
}

// TestUnits: package leverettest works with it, and so does another content type.
func TestUnits(t *testing.T) {
	t.Parallel()
	charged := make(chan *billingv1.Charge, 1)
	h := handlers(charged)
	require.NoError(t, leverettest.Deliver(t.Context(), h, ChargeCard, charge).Err)
	require.True(t, proto.Equal(charge, <-charged))
	answer := leverettest.Call(t.Context(), h, AskCharge, charge)
	require.NoError(t, answer.Err)
	require.Equal(t, "A7", answer.Reply.GetAuthorization())

	stub := &leverettest.StubCaller{}
	leverettest.Answer(stub, AskCharge, func(context.Context, *billingv1.Charge) (*billingv1.Receipt, error) {
		return &billingv1.Receipt{Authorization: "stub"}, nil
	})
	receipt, err := AskCharge.Call(t.Context(), stub, charge)
	require.NoError(t, err)
	require.Equal(t, "stub", receipt.GetAuthorization())
	require.True(t, proto.Equal(charge, leverettest.Sent(stub, AskCharge)[0]))
	recorder := &leverettest.Recorder{}
	require.NoError(t, ChargeCard.Send(t.Context(), recorder, charge))
	require.True(t, proto.Equal(charge, leverettest.Sent(recorder, ChargeCard)[0]))

	other := protobuf.Codec()
	other.ContentType = "application/protobuf"
	require.Equal(t, "application/protobuf", leveret.NewCommand[*billingv1.Charge]("a.do", leveret.Encoded(other)).Spec().ContentType())
}

func TestWrongTypes(t *testing.T) {
	t.Parallel()
	codec := protobuf.Codec()
	for _, t1 := range []reflect.Type{
		reflect.TypeFor[billingv1.Charge](), reflect.TypeFor[string](), reflect.TypeFor[*int](), reflect.TypeFor[proto.Message](),
		reflect.TypeFor[**billingv1.Charge](), reflect.TypeFor[*dynamicpb.Message](),
	} {
		require.ErrorContains(t, codec.Check(t1), "application/x-protobuf is for pointers to generated messages", t1)
		_, err := codec.Schema(t1)
		require.Error(t, err)
	}
	var text string
	_, err := codec.Encode(&text)
	require.Error(t, err)
	require.Error(t, codec.Decode(nil, &text))
	wrong := leveret.NewCommand[billingv1.Money]("a.do", leveret.Encoded(codec))
	require.ErrorContains(t, leveret.NewService("a", leveret.Handles(wrong)).Err(), `command "a.do": application/x-protobuf is for pointers`)
}

// TestSchema: what protojson writes fits the schema, and what the schema refuses, protojson refuses.
func TestSchema(t *testing.T) {
	t.Parallel()
	spec := leveret.NewCommand[*billingv1.Everything]("a.do", leveret.Encoded(protobuf.Codec())).Spec()
	s, err := schema.Payload(spec)
	require.NoError(t, err)
	anything, err := structpb.NewStruct(map[string]any{"x": []any{1, "2", nil}})
	require.NoError(t, err)
	whole := &billingv1.Everything{
		Text: "<é>", Bytes: []byte{0xff}, Truth: true, Small: -1 << 31, Natural: 1<<64 - 1, Fraction: -0.5,
		State: 99, Several: []*billingv1.Money{{Amount: -1 << 63}, {}}, ByName: map[string]*billingv1.Money{"a": {Currency: "EUR"}},
		ByNumber: map[int32]string{-7: "x"}, Choice: &billingv1.Everything_Other{Other: &billingv1.Money{}}, Inner: &billingv1.Everything{},
		At: timestamppb.New(time.Unix(1, 5)), Took: durationpb.New(-time.Millisecond), Anything: anything,
		Perhaps: wrapperspb.String(""), Optional: new(""), Tokens: []string{"one", "two"},
	}
	for _, v := range []*billingv1.Everything{whole, {}, {Choice: &billingv1.Everything_One{One: "1"}, State: billingv1.State_STATE_PAID, Inner: whole}} {
		body, err := proto.Marshal(v)
		require.NoError(t, err)
		text, err := s.FromBody(body)
		require.NoError(t, err)
		_, err = s.Check(text)
		require.NoError(t, err, "%s", text)
		again, err := s.ToBody(text)
		require.NoError(t, err)
		back := new(billingv1.Everything)
		require.NoError(t, proto.Unmarshal(again, back))
		require.True(t, proto.Equal(v, back), "%s", text)
	}
	body, err := proto.Marshal(whole)
	require.NoError(t, err)
	text, err := s.FromBody(body)
	require.NoError(t, err)
	require.NotContains(t, string(s.Redact(text)), "two")
	require.Contains(t, string(s.Redact(text)), `"tokens":"[secret]"`)
	for _, wrong := range []string{
		`[]`, `{"text":1}`, `{"truth":"yes"}`, `{"small":2147483648}`, `{"natural":-1}`, `{"several":{}}`, `{"at":"noon"}`, `{"nothing":1}`,
		`{"state":"STATE_PAD"}`, `{"byNumber":{"x":"y"}}`, `{"by_name":{"a":{"amont":1}}}`,
	} {
		_, err := s.Check([]byte(wrong))
		require.Error(t, err, wrong)
		if _, err = s.ToBody([]byte(wrong)); !strings.Contains(wrong, "nothing") && !strings.Contains(wrong, "PAD") && !strings.Contains(wrong, "amont") {
			require.Error(t, err, wrong)
		}
	}
	for _, fine := range []string{
		`{}`, `{"natural":7}`, `{"natural":"7"}`, `{"state":2}`, `{"state":"STATE_PAID"}`, `{"took":"1.5s"}`, `{"by_name":{"a":{"amount":1}}}`, `{"fraction":"NaN"}`,
	} {
		_, err := s.Check([]byte(fine))
		require.NoError(t, err, fine)
	}
	_, err = s.Check(s.Example())
	require.NoError(t, err, "%s", s.Example())
}

// TestChangeOfCodecBreaks: the lock file has the content type.
func TestChangeOfCodecBreaks(t *testing.T) {
	t.Parallel()
	lock := func(options ...leveret.ContractOption) *compat.Lock {
		do := leveret.NewCommand[*billingv1.Money]("a.do", options...)
		l, err := compat.Of(leveret.NewCatalog(leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))))
		require.NoError(t, err)
		return l
	}
	was, is := lock(), lock(leveret.Encoded(protobuf.Codec()))
	require.Empty(t, was.Contracts[0].ContentType)
	require.Equal(t, protobuf.ContentType, is.Contracts[0].ContentType)
	found, err := compat.Check(was, is)
	require.NoError(t, err)
	var messages []error
	for _, f := range found {
		if f.Change == "content_type" {
			require.Equal(t, compat.Breaks, f.Severity)
			messages = append(messages, errors.New(f.Message))
		}
	}
	require.EqualError(t, errors.Join(messages...), "travels as application/x-protobuf, and travelled as JSON")
	found, err = compat.Check(is, is)
	require.NoError(t, err)
	require.Empty(t, found)
}

// FuzzDecode: any bytes are refused, or make a message that people can read and that travels again.
func FuzzDecode(f *testing.F) {
	body, err := proto.Marshal(charge)
	require.NoError(f, err)
	for _, b := range [][]byte{nil, body, body[:5], []byte(`{"orderId":"7"}`), {0xff}} {
		f.Add(b)
	}
	spec := ChargeCard.Spec()
	s, err := schema.Payload(spec)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := ChargeCard.Decode(body)
		if err != nil {
			require.ErrorIs(t, err, leveret.InvalidArgument)
			return
		}
		text, err := s.FromBody(body)
		require.NoError(t, err)
		again, err := s.ToBody(text)
		require.NoError(t, err)
		back, err := ChargeCard.Decode(again)
		require.NoError(t, err)
		c.ProtoReflect().SetUnknown(nil)
		c.GetTotal().ProtoReflect()
		require.Equal(t, c.GetOrderId(), back.GetOrderId())
		require.Equal(t, c.GetTotal().GetAmount(), back.GetTotal().GetAmount())
	})
}
