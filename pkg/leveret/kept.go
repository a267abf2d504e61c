package leveret

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A Retention says how long, and up to which size, an event is kept.
type Retention struct {
	Age   time.Duration
	Bytes int64
}

// minKept is the least that a stream can be limited to, in bytes.
const minKept = 1_000_000

// Kept makes an event kept: besides what each subscriber gets, RabbitMQ appends it to a stream, from which services can read
// it later, from any place and any number of times. [Reads] says so, and package stream does it. It is for events that are
// not external, and whose payloads hold no [Secret].
//
// Age is in whole seconds; bytes is 1 MB at least. RabbitMQ deletes the oldest events, by whole segments, when the one that it
// writes to is full: a tenth of bytes, and no more than 500 MB. So a stream may hold a tenth more than bytes; and events may
// stay much longer than age where few are published. No event can be deleted alone: see "Kept events" in docs/guide.md for
// what that means for personal data.
//
// The services that publish the event declare the stream, and those that read it; what was published before is not in it.
// Another age, or size, does not change a stream that exists: a policy does. A header that is a table, a list or a decimal
// is InvalidArgument, since a stream loses it, or closes the connection.
func Kept(age time.Duration, bytes int64) ContractOption {
	return func(s *Spec) error {
		switch {
		case s.Kind != KindEvent:
			return errors.New("Kept is for events: commands and requests are for one service, once")
		case age < time.Second || age%time.Second != 0:
			return fmt.Errorf("Kept: the age %v is not a whole number of seconds", age)
		case bytes < minKept:
			return fmt.Errorf("Kept: %d bytes are too few; the least is %d", bytes, minKept)
		}
		s.Kept = &Retention{age, bytes}
		return nil
	}
}

// Older converts what an older version of the contract has sent, where that no longer decodes or is no longer valid: an event
// that was kept, a dead letter, what waits in a queue. Convert gets such a body and returns it as it is sent today, or nil
// where it is none of an older version; then the first error stands. It must not keep or change the body, must be safe for
// concurrent use, and is called for commands and events. Programs that read the bytes themselves, as tools and those in other
// languages do, see the old ones. A body that still decodes and is valid, but means something else today, cannot be told
// apart: it needs a contract of another name.
func Older(convert func(body []byte) []byte) ContractOption {
	return forKind(false, "Older is for commands and events: a request is answered while its caller waits", func(s *Spec) error {
		s.Older = convert
		return nil
	})
}

// checkKept returns why an event cannot be kept.
func (s *Spec) checkKept() error {
	switch {
	case s.Kept == nil:
		return nil
	case s.external():
		return errors.New("Kept: the exchange belongs to somebody else: bind a stream to it, and name that")
	case HoldsSecret(s.Payload):
		return fmt.Errorf("Kept: %v holds a secret, and what is kept cannot be taken back", s.Payload)
	default:
		return nil
	}
}

// keepable reports whether a stream keeps a header as it is.
func keepable(header any) bool {
	switch header.(type) {
	case nil, []byte:
		return true
	case rabbit.Decimal:
		return false
	default:
		kind := reflect.TypeOf(header).Kind()
		return kind != reflect.Map && kind != reflect.Slice && kind != reflect.Array
	}
}
