package leveret

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A Kind is what a contract is: a command, an event, or a request.
type Kind uint8

// The kinds of contract.
const (
	KindCommand Kind = iota + 1
	KindEvent
	KindRequest
)

// String returns "command", "event" or "request".
func (k Kind) String() string {
	if k > KindRequest {
		return "unknown"
	}
	return [...]string{"unknown", "command", "event", "request"}[k]
}

// SenderRole returns the role of a service that sends contracts of this kind: sends, publishes or calls.
func (k Kind) SenderRole() Role { return [...]Role{0, RoleSends, RolePublishes, RoleCalls}[k] }

// ServerRole returns the role of a service that serves contracts of this kind: handles, subscribes or answers.
func (k Kind) ServerRole() Role { return [...]Role{0, RoleHandles, RoleSubscribes, RoleAnswers}[k] }

// A Contract is a [Command], an [Event] or a [Request]. A contract is immutable and safe for concurrent use.
type Contract interface {
	// Spec returns all that is known of the contract.
	Spec() Spec
}

// A Spec describes a contract.
type Spec struct {
	Kind Kind
	// Name is the contract's name on the wire, and its routing key: "inventory.reserve". The first segment is the
	// service that owns it.
	Name string
	// Payload is the type of what is sent, Reply that of the answer to a request (nil otherwise).
	Payload, Reply reflect.Type
	// Retry says how failed commands and events are retried. Requests never are.
	Retry RetryPolicy
	// RetryOn lists codes that are tried again though they would be dead-lettered at once otherwise: for an event
	// NotFound, since events overtake each other, and those given with [RetryOn].
	RetryOn []Code
	// Timeout is how long a caller waits for the reply if its context has no sooner end. Requests only.
	Timeout time.Duration
	// Idempotent says that handling the same request twice does no harm. Requests only.
	Idempotent bool
	// HTTP is where the request is served over HTTP, as a pattern of net/http: "POST /payments". Requests only.
	HTTP string
	// Address is set where the exchange or the queue belongs to somebody else.
	Address *Address
	// RoutingKey makes the routing key of a message from its payload; nil where the key is that of the address.
	RoutingKey func(*Message) (string, error)
	// Key makes the key by which messages are ordered, as given with the option [Key]; nil where they are not.
	Key func(*Message) (string, error)
	// Codec says how payloads and replies travel, as given with [Encoded]; nil where they are JSON.
	Codec *Codec
	// Older converts bodies of older versions, as given with [Older]; nil where there is no such function.
	Older func(body []byte) []byte
	// Kept says how long the event is kept in a stream, as given with [Kept]; nil where it is not.
	Kept *Retention
	// Example is a payload to show to people; nil where none was given.
	Example any
}

// Owner returns the service that owns the contract: the first segment of its name.
func (s Spec) Owner() string {
	owner, _, _ := strings.Cut(s.Name, ".")
	return owner
}

// A RetryPolicy says how often and after which delays a failed command or event is handled again.
type RetryPolicy struct {
	// Attempts is how often a message is handled at most, the first time included. Default 5; 1 means never again.
	Attempts int
	// Delays are what a message waits before its second, third, … attempt; the last one repeats. Default 1s, 10s, 1m,
	// 10m. Every distinct delay is a queue on the broker, which contracts share: keep to a few.
	Delays []time.Duration
}

// DefaultRetryPolicy returns what a contract without one has: five attempts, after 1s, 10s, 1m and 10m.
func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{Attempts: 5, Delays: []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}}
}

// DefaultTimeout is how long a caller waits for the reply to a request without a [Timeout].
const DefaultTimeout = 10 * time.Second

// An Address names an exchange or a queue that does not follow from the contract's name, because somebody else made it.
//
// A service can take several contracts of one kind (commands and events, or requests) from one Queue, if their addresses
// tell their messages apart: by Type, each having another one; by a header that all of them name in Headers, each with
// another value; or, where they have neither, by RoutingKey. Of two keys or patterns that cover the same message, that of
// the contract which the service declares first counts. The catalog reports contracts that cannot be told apart, and those
// that would never get a message. A message that belongs to none of the contracts becomes a dead letter with the code
// unimplemented, and a request is answered with that error. Where a queue has one contract, all messages are taken for it,
// whatever they say, unless its address has Headers: then those without them belong to nobody. Of what belongs to nobody, a
// queue per process says nothing, since it is for others.
//
// Without External, the exchange is declared as ours: durable, a topic exchange for an event, else a direct one. The broker
// then refuses (406) a program that declares it otherwise, as a fanout for instance: set External, and put the exchange into
// Topology. Messages to an exchange that stands there with the type "x-delayed-message" are not mandatory: the broker would
// return them, though they arrive later. A request to somebody else's queue is not called off when its caller gives up. A
// Queue must not be a stream.
type Address struct {
	// Exchange and RoutingKey are where the contract's messages are published. An External address without an exchange
	// means the default one, which takes the name of a queue as its routing key. In any other address, what is left empty
	// follows from the contract's name. A RoutingKey may be a pattern of a topic exchange, such as "order.*": receivers bind
	// it, and senders need the option [RoutingKey].
	Exchange, RoutingKey string
	// Queue is where a worker takes the messages from. An event with a Queue can have only one subscriber.
	Queue string
	// External says that the exchange and the queue belong to somebody else: they are never declared, only checked, but
	// for what is in Topology. The dead-letter queue, named after the queue, stays ours, unless DeadLetterQueue is set.
	External bool
	// Topology is what must exist for an External address, in somebody else's form: it is declared exactly as it stands
	// here. Services that send a command, and those that take messages, declare all of it; those that publish an event or
	// call, its exchanges alone, and so do senders where the Queue is exclusive. One process at a time has such a queue, and
	// its messages have neither retries nor dead letters, as with [SubscribesPerProcess]. For that, the address of an event
	// can have bindings without a queue: they are for the queue of each process, in place of Exchange and RoutingKey.
	Topology topology.Topology
	// DeadLetterQueue is the queue in which failed messages of Queue end, where Queue has a dead-letter exchange of its own:
	// by its argument x-dead-letter-exchange, or by a policy. A message that failed for good is then rejected, with
	// [VerdictReject], and the broker takes it there; Leveret has no dead-letter queue of its own for it. Several queues may
	// end in one. It is for commands and events at External addresses. If Queue has no dead-letter exchange after all, the
	// broker drops what is rejected.
	//
	// Retries come back with the name of Queue as their routing key. A dead-letter exchange that chooses by routing key needs
	// a binding for it, unless Queue has an x-dead-letter-routing-key. A message that has been in the quarantine is not
	// rejected but copied to DeadLetterQueue, through the default exchange.
	DeadLetterQueue string
	// Type is the AMQP type of the contract's messages and replies, by which some programs choose what to do with a
	// message. Default the contract's name; [NoType] leaves it out. Only a Type that is set tells contracts apart.
	Type string
	// Headers are set on the contract's messages, before any other of the same name; and of what arrives, only messages
	// that have them are the contract's. Those that are Leveret's or RabbitMQ's cannot be: see [Message.CheckHeaders].
	Headers map[string]string
}

// noStreams is why a worker takes nothing from a stream.
const noStreams = "a worker would begin at its end, and a retry would be published into it again; read it with " +
	"the driver, or bind a queue to the exchange from which it is filled"

// NoType is the Type of an [Address] whose messages have none.
const NoType = "-"

// messageType returns the AMQP type of the contract's messages.
func (s *Spec) messageType() string {
	switch {
	case s.Address == nil || s.Address.Type == "":
		return s.Name
	case s.Address.Type == NoType:
		return ""
	default:
		return s.Address.Type
	}
}

// A ContractOption changes how a contract is carried. Each says which kinds of contract it is for; the catalog reports
// one that is used on another.
type ContractOption func(*Spec) error

// forKind is an option for requests, or else for commands and events; wrong is what is said of it on another contract.
func forKind(requests bool, wrong string, apply ContractOption) ContractOption {
	return func(s *Spec) error {
		if requests != (s.Kind == KindRequest) {
			return errors.New(wrong)
		}
		return apply(s)
	}
}

// Retry sets the retry policy of a command, or of an event for all its subscribers. What is zero in it is the default.
func Retry(p RetryPolicy) ContractOption {
	return forKind(false, "Retry is for commands and events: a caller that gets Unavailable calls again itself", func(s *Spec) error {
		s.Retry.Attempts = cmp.Or(p.Attempts, s.Retry.Attempts)
		if len(p.Delays) > 0 {
			s.Retry.Delays = slices.Clone(p.Delays)
		}
		if s.Retry.Attempts < 1 {
			return fmt.Errorf("Retry: Attempts is %d; it counts the first try, so it is at least 1", s.Retry.Attempts)
		}
		for _, d := range s.Retry.Delays {
			if d < time.Millisecond || d > 24*time.Hour || d%time.Millisecond != 0 {
				return fmt.Errorf("Retry: the delay %v is not a whole number of milliseconds between 1ms and 24h", d)
			}
		}
		return nil
	})
}

// RetryOn makes errors of these codes be tried again. An event's [NotFound] is anyway: events overtake each other, so
// that it may be early, not wrong.
func RetryOn(codes ...Code) ContractOption {
	return forKind(false, "RetryOn is for commands and events", func(s *Spec) error {
		for _, c := range codes {
			if c != c.known() {
				return fmt.Errorf("RetryOn: %s is none of the codes", c.String())
			}
			if !slices.Contains(s.RetryOn, c) {
				s.RetryOn = append(s.RetryOn, c)
			}
		}
		return nil
	})
}

// Timeout is how long a caller waits for the reply where its context has no sooner end. Default [DefaultTimeout].
func Timeout(d time.Duration) ContractOption {
	return forKind(true, "Timeout is for requests: a command or an event has no deadline", func(s *Spec) error {
		if d <= 0 {
			return fmt.Errorf("Timeout is %v; it must be positive", d)
		}
		s.Timeout = d
		return nil
	})
}

// Idempotent says that handling the same request twice does no harm. A caller that loses its connection calls again
// under the same message id, and once more after the broker has closed the channel that it shares with other calls; and
// a worker handles a redelivered request again instead of answering [Aborted].
func Idempotent() ContractOption {
	return forKind(true, "Idempotent is for requests: commands and events are delivered at least once anyway", func(s *Spec) error {
		s.Idempotent = true
		return nil
	})
}

// HTTP says where a request is served and called over HTTP, as a pattern of net/http: "GET /orders/{order_id}". Default
// "POST /" and the contract's name. Package httprpc says what it does with it, and what is wrong with it.
func HTTP(pattern string) ContractOption {
	return forKind(true, "HTTP is for requests: commands and events travel through queues", func(s *Spec) error {
		s.HTTP = pattern
		return nil
	})
}

// At names the exchange and the queue of a contract whose address does not follow from its name.
func At(a Address) ContractOption {
	return func(s *Spec) error {
		if err := a.check(); err != nil {
			return fmt.Errorf("At: %w", err)
		}
		if pattern(a.RoutingKey) && (s.Kind == KindRequest || s.Kind == KindCommand && !a.External) {
			return fmt.Errorf("At: %q is a pattern, which only events and External commands can have", a.RoutingKey)
		}
		if a.DeadLetterQueue != "" && (s.Kind == KindRequest || !a.External) {
			return errors.New("At: DeadLetterQueue is for commands and events at External addresses")
		}
		a.Topology, a.Headers = a.Topology.Clone(), maps.Clone(a.Headers)
		s.Address = &a
		if s.Kind != KindEvent && len(s.processBindings()) > 0 {
			return errors.New("At: Topology: a binding needs a queue: without one it is for events that each process gets")
		}
		if s.Kind == KindRequest && s.exclusive("") {
			return fmt.Errorf("At: the queue %q is exclusive, which only those of commands and events can be", a.Queue)
		}
		return nil
	}
}

func (a Address) check() error {
	if a.Exchange == "" && a.RoutingKey == "" && a.Queue == "" {
		return errors.New("the address names nothing")
	}
	if err := a.checkTopology(); err != nil {
		return err
	}
	if len(a.Type) > maxShortString {
		return fmt.Errorf("the type %q has %d bytes; AMQP allows %d", a.Type, len(a.Type), maxShortString)
	}
	for name, value := range a.Headers {
		if value == "" || wire.Reserved(name) || len(name) > maxShortString {
			return fmt.Errorf("Headers: %q: %q cannot be set: it is for Leveret or RabbitMQ to set, too long, or empty", name, value)
		}
	}
	for _, name := range []string{a.Exchange, a.RoutingKey, a.DeadLetterQueue, a.Queue + topology.DeadLetterSuffix} {
		if len(name) > maxShortString {
			return fmt.Errorf("%q has %d bytes; AMQP allows %d, and a queue's dead letters need %d of them",
				name, len(name), maxShortString, len(topology.DeadLetterSuffix))
		}
	}
	if a.External && a.Exchange == "" && a.RoutingKey != "" && a.Queue != "" && a.RoutingKey != a.Queue {
		return fmt.Errorf("the default exchange takes the name of a queue as its routing key: %q leads to that queue, not to %q",
			a.RoutingKey, a.Queue)
	}
	return nil
}

// RoutingKey makes the routing key of each message from its payload, where an exchange hands messages out by what is in
// them. It is for events, and for commands through somebody else's exchange. Receivers bind the key of the contract's
// address, which is then a pattern. The function gets the payload as a receiver decodes it. A key that is empty, longer than
// 255 bytes, or itself a pattern is InvalidArgument, and the message is not sent.
func RoutingKey[T any](key func(payload T) string) ContractOption {
	return func(s *Spec) (err error) {
		s.RoutingKey, err = fromPayload(*s, "RoutingKey", key, func(k string) error {
			if k == "" || len(k) > maxShortString || pattern(k) {
				return Errorf(InvalidArgument, "the routing key %q has %d bytes; it must have 1 to %d, and be no pattern", k, len(k), maxShortString)
			}
			return nil
		})
		return err
	}
}

// Key says by what the messages of the contract are ordered, such as the id of an order: those that have the same key stay
// in the order in which they were sent, where package outbox sends them. A message whose key is empty has no order. The key
// has 255 bytes at most.
func Key[T any](key func(payload T) string) ContractOption {
	return func(s *Spec) (err error) {
		s.Key, err = fromPayload(*s, "Key", key, func(k string) error {
			if len(k) > maxShortString {
				return Errorf(InvalidArgument, "the key of the message has %d bytes; it may have %d", len(k), maxShortString)
			}
			return nil
		})
		return err
	}
}

// fromPayload makes a function of messages from one of their payloads.
func fromPayload[T any](s Spec, option string, f func(T) string, check func(string) error) (func(*Message) (string, error), error) {
	if f == nil {
		return nil, fmt.Errorf("%s is nil", option)
	}
	if reflect.TypeFor[T]() != s.Payload {
		return nil, fmt.Errorf("%s is a function of %v; it must be one of %v", option, reflect.TypeFor[T](), s.Payload)
	}
	return func(m *Message) (string, error) {
		payload, err := payloadOf[T](baseOf(m.Contract), m.Body, m.payload)
		if err != nil {
			return "", err
		}
		of := f(*payload)
		return of, check(of)
	}, nil
}

// pattern reports whether a routing key stands for many.
func pattern(key string) bool {
	return slices.ContainsFunc(strings.Split(key, "."), func(word string) bool { return word == "*" || word == "#" })
}

// checkTopology finds what would cost the connection that declares it, or could not be used.
func (a Address) checkTopology() error {
	if strings.HasPrefix(a.Queue, "amq.") {
		return fmt.Errorf("the broker makes up the name %q for one connection: leave it out, and subscribe with SubscribesPerProcess", a.Queue)
	}
	if !a.External && !a.Topology.Empty() {
		return errors.New("Topology is for External addresses: all others are declared in Leveret's own form")
	}
	for _, e := range a.Topology.Exchanges {
		if e.Name == "" || e.Type == "" {
			return fmt.Errorf("Topology: the exchange %q of type %q needs a name and a type", e.Name, e.Type)
		}
	}
	for _, q := range a.Topology.Queues {
		if q.Name == "" {
			return errors.New("Topology: a queue without a name lasts for one connection: leave it out, and subscribe with SubscribesPerProcess")
		}
		if q.Exclusive && q.Name != a.Queue {
			return fmt.Errorf("Topology: the queue %q cannot be exclusive: only the Queue of the address can, which is %q", q.Name, a.Queue)
		}
		if q.Name == a.Queue && q.Args["x-queue-type"] == "stream" {
			return fmt.Errorf("the Queue %s is a stream: %s", q.Name, noStreams)
		}
	}
	for _, b := range a.Topology.Bindings {
		if b.Exchange == "" || b.Queue == "" && (a.Queue != "" || a.Exchange == "") {
			return fmt.Errorf("Topology: a binding needs an exchange and a queue, not %q and %q", b.Exchange, b.Queue)
		}
	}
	return nil
}

// Example gives a payload to show to people who ask what the contract carries. It must be of the payload's type, and
// valid. Its Validate is not called while packages are initialised, when a variable that Validate uses may not be there
// yet: [Catalog.Err], [Handlers.Err] and [NewClient] report an example that it refuses.
func Example(payload any) ContractOption {
	return func(s *Spec) error {
		if reflect.TypeOf(payload) != s.Payload {
			return fmt.Errorf("Example is of type %T, not %v", payload, s.Payload)
		}
		s.Example = payload
		return nil
	}
}

var contractName = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)

const (
	// maxName keeps a queue's name, which carries more than the contract's, below AMQP's limit in most cases; [checkNames]
	// sees to the rest.
	maxName = 127
	// maxShortString is AMQP's limit for names and ids, in bytes.
	maxShortString = 255
)

// newSpec never fails: it keeps the mistakes, which the catalog and every use of the contract report.
func newSpec(kind Kind, name string, payload, reply reflect.Type, options []ContractOption) *contractBase {
	s := &Spec{Kind: kind, Name: name, Payload: payload, Reply: reply}
	if kind == KindRequest {
		s.Timeout, s.HTTP = DefaultTimeout, "POST /"+name
	} else {
		s.Retry = DefaultRetryPolicy()
	}
	if kind == KindEvent {
		s.RetryOn = []Code{NotFound}
	}
	errs := []error{reservedOwner(s.Owner())}
	if !contractName.MatchString(name) || len(name) > maxName {
		errs = append(errs, fmt.Errorf("the name must look like service.verb, in lower-case letters, digits and hyphens, "+
			"%d bytes at most", maxName))
	}
	for _, o := range options {
		errs = append(errs, o(s))
	}
	for _, t := range []reflect.Type{payload, reply} {
		switch c := s.Codec; {
		case t == nil:
		case c != nil && c.Check != nil:
			errs = append(errs, c.Check(t))
		case c == nil || c.ToJSON == nil:
			errs = append(errs, encodable(t))
		}
	}
	errs = append(errs, s.checkKept())
	if a := s.Address; s.RoutingKey != nil {
		switch {
		case kind == KindRequest:
			errs = append(errs, errors.New("RoutingKey is for commands and events: a request has one routing key"))
		case a == nil, kind == KindEvent && !a.External && a.RoutingKey == "":
			errs = append(errs, errors.New("RoutingKey: the contract needs an address with the key that receivers bind, such as \"order.*\""))
		case kind == KindCommand && !a.External, a.External && a.Exchange == "":
			errs = append(errs, errors.New("RoutingKey: this exchange compares whole keys; the option is for events, and for somebody else's exchange"))
		}
	}
	return &contractBase{
		spec: s, wrong: about(fmt.Sprintf("%s %q", kind, name), errs),
		open: map[reflect.Type]bool{payload: holdsAny(payload), reply: holdsAny(reply)},
	}
}

// reservedOwner returns why no service can have a name.
func reservedOwner(name string) error {
	switch name {
	case "amq":
		return errors.New("names that begin with amq belong to RabbitMQ")
	case "reply":
		return errors.New("names that begin with reply belong to queues of replies, which callers may have workers write to")
	default:
		return nil
	}
}

// contractBase is what the three kinds of contract share.
type contractBase struct {
	spec  *Spec
	wrong error                 // all that is wrong with the contract itself
	open  map[reflect.Type]bool // of the payload and the reply: whether it may hold an interface
}

// unmade is the base of a contract that is a zero value.
var unmade = contractBase{
	spec: &Spec{Name: "(none)"}, wrong: errors.New("a contract that was not made by NewCommand, NewEvent or NewRequest"),
}

func (b *contractBase) base() *contractBase { return cmp.Or(b, &unmade) }

func (b *contractBase) Spec() Spec { return *b.base().spec }

// baseOf returns the base of a contract. For a contract that this package did not make, it makes one without mistakes.
func baseOf(c Contract) *contractBase {
	if c == nil {
		return &unmade
	}
	if c, ok := c.(interface{ base() *contractBase }); ok {
		return c.base()
	}
	spec := c.Spec()
	return &contractBase{spec: &spec}
}

// exampleErr returns why the payload's Validate refuses the contract's example.
func (b *contractBase) exampleErr() error {
	if b.spec.Example == nil {
		return nil
	}
	pointer := reflect.New(b.spec.Payload)
	pointer.Elem().Set(reflect.ValueOf(b.spec.Example))
	for _, payload := range []any{pointer.Interface(), b.spec.Example} { // Validate may have either as its receiver
		if err := validate(&payload); err != nil {
			return fmt.Errorf("%s %q: the example is not valid: %w", b.spec.Kind, b.spec.Name, err)
		}
	}
	return nil
}

// about joins the errors that are not nil, and puts what in front of each.
func about(what string, errs []error) error {
	var said []error
	for _, err := range errs {
		if err != nil {
			said = append(said, fmt.Errorf("%s: %w", what, err))
		}
	}
	return errors.Join(said...)
}
