package rabbit

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/rabbit/internal/frames"
)

// The driver's types that carry messages.
type (
	Publishing = amqp.Publishing
	Delivery   = amqp.Delivery
	Table      = amqp.Table
	Decimal    = amqp.Decimal
)

// A Publication is a message and where it goes.
type Publication struct {
	Exchange, RoutingKey string
	// Mandatory makes it an error, ErrUnroutable, if no queue is bound for the message. Messages should have ids then: of
	// two in flight that are alike in everything, the broker does not say which one it returned.
	Mandatory bool
	// ReplyExchange is the exchange through which the reply comes, for [Requester.Call] with a reply queue. Default: the
	// default one.
	ReplyExchange string
	Publishing
}

// DefaultMaxBody is the largest message that RabbitMQ 4 accepts by default.
const DefaultMaxBody = 16 << 20

// check finds what would make the broker or the driver close the channel, or the connection, under everybody's feet.
func (m *Publication) check(maxBody int) error {
	if len(m.Body) > maxBody {
		return fmt.Errorf("%w: %d bytes; the limit is %d", ErrTooLarge, len(m.Body), maxBody)
	}
	fields := [...]string{
		"exchange", m.Exchange, "routing key", m.RoutingKey, "reply exchange", m.ReplyExchange,
		"message id", m.MessageId, "correlation id", m.CorrelationId,
		"reply-to", m.ReplyTo, "type", m.Type, "app id", m.AppId, "user id", m.UserId,
		"content type", m.ContentType, "content encoding", m.ContentEncoding, "expiration", m.Expiration,
	}
	for field := range slices.Chunk(fields[:], 2) {
		if err := checkShort(field[0], field[1]); err != nil {
			return err
		}
	}
	if ms, err := strconv.ParseUint(strings.TrimPrefix(m.Expiration, "+"), 10, 64); m.Expiration != "" && (err != nil || ms > maxExpiration) {
		return fmt.Errorf("%w: the expiration is %q; it must be a number of milliseconds, up to %d", ErrInvalid, m.Expiration, maxExpiration)
	}
	if m.DeliveryMode > amqp.Persistent { // RabbitMQ 4 takes it
		return fmt.Errorf("%w: the delivery mode is %d; it must be 1 or 2", ErrInvalid, m.DeliveryMode)
	}
	for _, name := range [...]string{"CC", "BCC"} {
		if keys, ok := m.Headers[name]; ok && !areKeys(keys) { // of others, RabbitMQ 3.10 stumbles over each dead-lettering
			return fmt.Errorf("%w: the header %q is a %T; it must be an array of routing keys", ErrInvalid, name, keys)
		}
	}
	return checkTable("header", m.Headers, 0)
}

// maxExpiration is ten years in milliseconds, which is RabbitMQ's limit.
const maxExpiration = 315_360_000_000

func areKeys(value any) bool {
	keys, ok := value.([]any)
	return ok && !slices.ContainsFunc(keys, func(key any) bool {
		_, ok := key.(string)
		return !ok
	})
}

// checkShort holds a short string of AMQP's to its limit: the driver would fail in the middle of a frame.
func checkShort(what, s string) error {
	if len(s) > 255 {
		return fmt.Errorf("%w: the %s has %d bytes; AMQP allows 255", ErrInvalid, what, len(s))
	}
	return nil
}

// checkTable finds what a table, of entries that are called what, cannot carry.
func checkTable(what string, t Table, depth int) error {
	if len(t) > frames.MaxEntries || depth > frames.MaxDepth {
		return errUnreadable(what)
	}
	for name, value := range t {
		if len(name) > 255 {
			return checkShort("name of a "+what, name)
		}
		if err := checkField(what, name, value, depth); err != nil {
			return err
		}
	}
	return nil
}

func checkField(what, name string, value any, depth int) error {
	switch v := value.(type) {
	case Table:
		return checkTable(what, v, depth+1)
	case []any:
		if len(v) > frames.MaxEntries || depth == frames.MaxDepth {
			return errUnreadable(what)
		}
		for _, item := range v {
			if err := checkField(what, name, item, depth+1); err != nil {
				return err
			}
		}
	case int:
		if v != int(int32(v)) { // the driver cuts it to 32 bits
			return fmt.Errorf("%w: the %s %q is an int over 32 bits; make it an int64", ErrInvalid, what, name)
		}
	case float32:
		return checkField(what, name, float64(v), depth)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) { // the broker would close the connection
			return fmt.Errorf("%w: the %s %q is %v, which RabbitMQ cannot carry", ErrInvalid, what, name, v)
		}
	case nil, bool, byte, int8, int16, int32, int64, uint16, uint32, string, []byte, amqp.Decimal, time.Time:
	default:
		return fmt.Errorf("%w: the %s %q is a %T, which AMQP 0-9-1 cannot carry", ErrInvalid, what, name, value)
	}
	return nil
}

// errUnreadable is the error of tables that RabbitMQ carries, but a receiver with our driver could not read.
func errUnreadable(what string) error {
	return fmt.Errorf("%w: a %s nests deeper than %d, or has more than %d entries in one table", ErrInvalid, what, frames.MaxDepth, frames.MaxEntries)
}

// fits finds out whether the message's properties go into one frame, as they must, on the connection of ch: one that is
// too large closes the connection. A part of the frame is left for what the broker adds on the way: 4 KiB of 128.
func (ch *Channel) fits(m *Publication) error {
	limit := ch.session.Config.FrameSize
	limit -= limit / 32
	if size := frames.Overhead + propertiesSize(&m.Publishing); limit > 0 && size > limit {
		return fmt.Errorf("%w: headers and properties take up to %d bytes; on this connection they may take %d", ErrInvalid, size, limit)
	}
	return nil
}
