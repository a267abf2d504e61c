package leveret

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
)

// A Message is what travels: a payload, and what accompanies it. Middleware sees it on its way out and in; handlers find
// theirs with [MessageFrom].
type Message struct {
	// Contract is what the message is an instance of.
	Contract Contract

	// ID identifies the message, through every retry, redelivery and replay: what a receiver dedupes on. A UUIDv7, or,
	// sent from inside a handler, a UUIDv8 that is the same again when the handler runs again. Empty only on a message
	// that a foreign sender left without one.
	ID string
	// CorrelationID ties a reply to its request, and is the [Caller]'s to set; on commands and events it is the
	// conversation.
	CorrelationID string
	// ConversationID is shared by all messages that follow from one first message.
	ConversationID string
	// CausationID is the id of the message whose handler sent this one; empty on the first of a conversation.
	CausationID string
	// AppID is the service that sent the message first.
	AppID string
	// SentAt is when it was sent first, by the sender's clock. Zero where a foreign sender did not say, and on requests over
	// HTTP and gRPC.
	SentAt time.Time
	// SendAt is when a message is to be sent that is not sent at once, as given with [After] or [AtTime]. It does not travel.
	SendAt time.Time
	// Deadline is when a request's caller stops waiting. Zero for commands and events.
	Deadline time.Time

	// Headers are the message's AMQP headers. On the way out those of Leveret are added later; on the way in all are here.
	Headers map[string]any
	// Priority is RabbitMQ's priority of the message, as given with the option [Priority]. Over HTTP and gRPC there is none.
	Priority uint8
	// Body is the payload as it travels: JSON, or what the contract's [Codec] makes of it. It is nil where the payload is a
	// Go value that has not been encoded, or is encoded in another way: over gRPC, and when a [Caller] gets the message. The
	// methods Encode and JSON return the payload of any message.
	Body []byte
	// Reply is the answer to a request, encoded likewise: set by the handler, and on the way back, for the caller. Over gRPC
	// it is nil, and ReplyJSON returns the answer.
	Reply []byte
	// AnsweredBy is the service instance that answered a call: "payment@host/pid". Of a reply over gRPC it is the service
	// and the address that it came from, "payment@10.0.0.7:9083", which may be a proxy's. It is empty where the other side
	// did not say, and on all other messages.
	AnsweredBy string

	Received

	payload, reply any // pointers to the Go values where Body and Reply are nil
}

// Encode returns the payload as it travels: Body, or, where that is nil, a new encoding. Middleware that changes the payload
// sets Body, over every transport. An error has the code InvalidArgument.
func (m *Message) Encode() ([]byte, error) {
	if m.Body != nil || m.payload == nil {
		return m.Body, nil
	}
	return baseOf(m.Contract).spec.Codec.encode(m.payload)
}

// JSON returns the payload as JSON. Of a contract with a [Codec] that is what people read; of all others, it is what Encode
// returns. An error has the code InvalidArgument.
func (m *Message) JSON() ([]byte, error) {
	s := baseOf(m.Contract).spec
	return s.Codec.json(s.Payload, m.Body, m.payload)
}

// ReplyJSON returns the answer to a request as JSON, likewise; nil before there is one.
func (m *Message) ReplyJSON() ([]byte, error) {
	s := baseOf(m.Contract).spec
	return s.Codec.json(s.Reply, m.Reply, m.reply)
}

// valueOf returns a pointer to the Go value of a payload or a reply: of its body, or, where that is nil, the value that is
// known. As in JSON, that must not be nil.
func valueOf[T any](b *contractBase, body []byte, known any) (*T, error) {
	if value, ok := known.(*T); ok && body == nil {
		if isNil(*value) {
			return value, Errorf(InvalidArgument, "a nil %T cannot be sent", *value)
		}
		return value, nil
	}
	value := new(T)
	return value, b.spec.Codec.decode(body, value, b.open[reflect.TypeFor[T]()])
}

// payloadOf is valueOf that validates, and that converts what older versions have sent.
func payloadOf[T any](b *contractBase, body []byte, known any) (*T, error) {
	payload, err := valueOf[T](b, body, known)
	if err == nil {
		err = validate(payload)
	}
	if err == nil || body == nil || b.spec.Older == nil {
		return payload, err
	}
	if body = b.spec.Older(body); body == nil { // it is wrong, not old
		return payload, err
	}
	if payload, err = valueOf[T](b, body, nil); err == nil {
		err = validate(payload)
	}
	if err != nil {
		err = fmt.Errorf("as converted by Older: %w", err)
	}
	return payload, err
}

// Received is what is known of a received message only.
type Received struct {
	// Queue is the queue that the message came from; empty where it came over another transport.
	Queue string
	// Subscription is the name of the subscription that an event is handled for, as given to [As]; empty for the plain
	// one, and "per-process" for [PerProcess].
	Subscription string
	// Attempt counts how often the message was tried by the retry policy: 1 the first time. Redeliveries by the broker
	// after a crash do not count.
	Attempt int
	// Redelivered says that the broker delivered the message before, to a worker that did not settle it.
	Redelivered bool
	// ReplyTo is where the answer goes; empty where nobody asked for one.
	ReplyTo string
	// Type, RoutingKey and ContentType are what the sender wrote. The routing key stays that of the first publish through
	// every retry and replay. They are empty where the message came over another transport.
	Type, RoutingKey, ContentType string
}

// A Sender takes responsibility for messages that need no answer. [Client] is a sender, and so is the recorder of
// package leverettest, whose Suite checks others. A Sender is safe for concurrent use.
type Sender interface {
	// Send hands over a command or an event and blocks until it has an outcome. It returns nil if and only if the sender
	// has taken responsibility for the message: it is stored where it survives this process. Any other end is an error
	// with a [Code], which wraps that of ctx where ctx ended it: after an [ErrOutcomeUnknown] the message may have been
	// taken all the same, after any other it was not. Send does not change m.
	Send(ctx context.Context, m *Message) error
}

// A Caller makes requests. [Client] is a caller, and so is the stub of package leverettest, whose Suite checks others.
// A Caller is safe for concurrent use.
type Caller interface {
	// Call sends the request and blocks until its end. It gets the payload from [Message.Encode], [Message.JSON] or [Request.Payload], since
	// m.Body may be nil. It returns nil if and only if the other side answered without an error; the answer then is in
	// m.Reply, or was given to [Request.SetReply]. An error has a [Code]: it is the other side's ([IsRemote]) or this
	// side's, which wraps that of ctx where ctx ended the call. Where the request may have been handled, it is an
	// [ErrOutcomeUnknown].
	Call(ctx context.Context, m *Message) error
}

// A Handler does something with a message: hands it to a user's handler, or to the broker.
type Handler func(ctx context.Context, m *Message) error

// A Middleware wraps a [Handler]. The same kind serves workers and clients.
type Middleware func(next Handler) Handler

// chain puts middleware around h, the first outermost.
func chain(h Handler, middleware []Middleware) Handler {
	for _, m := range slices.Backward(middleware) {
		h = m(h)
	}
	return h
}

// A SendOption shapes one message: [MessageID], [Conversation], [Header] and [Priority] make them.
type SendOption struct{ apply func(*Message) }

// MessageID sets the message's id instead of a new one: to send the very same message again, or to let a business key
// identify it.
func MessageID(id string) SendOption {
	return SendOption{func(m *Message) { m.ID = id }}
}

// Conversation makes the message part of a conversation that its context knows nothing of.
func Conversation(id string) SendOption {
	return SendOption{func(m *Message) { m.ConversationID = id }}
}

// Header adds a header. A message with one that [Message.CheckHeaders] refuses is not sent. A traceparent puts the message
// into another trace than that of its context. Over HTTP and gRPC headers travel as JSON: text, truths, int64 and float64
// arrive as they are, any other number as one of these, or as a [json.Number] if they cannot hold it.
func Header(name string, value any) SendOption {
	return SendOption{func(m *Message) { m.ownHeaders()[name] = value }}
}

// Priority sets RabbitMQ's priority of a message, which only some queues heed: a classic queue made with x-max-priority; and
// a quorum queue since RabbitMQ 4.0, to which 5 and more is high.
func Priority(p uint8) SendOption { return SendOption{func(m *Message) { m.Priority = p }} }

// After has the message sent no sooner than d from now, in the transaction that it is given to: see package outbox. A
// [Client] cannot send it, since RabbitMQ cannot keep a message until then, show it, or take it back.
func After(d time.Duration) SendOption { return AtTime(time.Now().Add(d)) }

// AtTime is like [After], and has the message sent no sooner than t. A time before 1970, such as the zero time, is InvalidArgument.
func AtTime(t time.Time) SendOption { // a zero SendAt would be no time
	return SendOption{func(m *Message) { m.SendAt = cmp.Or(t.UTC(), time.Time{}.Add(1)) }}
}

// CheckHeaders returns an error with the code InvalidArgument if the message has a header that is not its sender's to
// set: one whose name begins with "leveret-"; CC and BCC, which would send it elsewhere as well; and x-death,
// x-first-death-*, x-last-death-*, x-delivery-count, x-acquired-count and x-stream-offset, which are RabbitMQ's. Other
// names that begin with "x-" are for plugins. A [Sender] or [Caller] calls it before it sends. Received messages have such
// headers.
func (m *Message) CheckHeaders() error {
	for name, value := range m.Headers {
		if wire.Reserved(name) {
			return Errorf(InvalidArgument, "the header %q cannot be set: it is for Leveret or RabbitMQ to set", name)
		}
		if m.Contract != nil && m.Contract.Spec().Kept != nil && !keepable(value) {
			return Errorf(InvalidArgument, "the header %q is a %T, which a stream cannot keep", name, value)
		}
	}
	return nil
}

// SenderHeaders returns, in a new map, what the sender of the message has said in headers of its own: all but those of
// Leveret ("leveret-" and more), those of the trace (traceparent, tracestate, baggage), and those that RabbitMQ or one of
// its plugins has set or obeys. They stay the same through retries and replays, and can be sent on with [Header].
func (m *Message) SenderHeaders() map[string]any {
	return wire.Senders(m.Headers, w3c.Fields()...)
}

// ownHeaders returns the headers of a message that is being made, which are its own to change.
func (m *Message) ownHeaders() map[string]any {
	if m.Headers == nil {
		m.Headers = make(map[string]any, 3)
	}
	return m.Headers
}

// MessageFrom returns the message whose handling ctx belongs to; nil outside a handler. It must not be changed.
func MessageFrom(ctx context.Context) *Message {
	if h := handlingFrom(ctx); h != nil {
		return h.message
	}
	return nil
}
