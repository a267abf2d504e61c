package conformance

import (
	"encoding/binary"
	"math"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A reader takes values from the payload of a frame. Behind the end it returns zero values.
type reader struct {
	rest  []byte
	short bool // there were fewer bytes than were asked for
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, min(max(n, 0), 8))
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) u8() uint8    { return r.take(1)[0] }
func (r *reader) u16() uint16  { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32  { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64  { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) text() string { return string(r.take(int(r.u8()))) }
func (r *reader) long() []byte {
	n := int(r.u32())
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	return r.take(n)
}

// table reads a field table. Integers become int64, whatever their width.
func (r *reader) table() map[string]any {
	in := &reader{rest: r.long()}
	t := make(map[string]any)
	for len(in.rest) > 0 {
		name := in.text()
		t[name] = in.value()
	}
	return t
}

func (r *reader) value() any {
	switch r.u8() {
	case 't':
		return r.u8() != 0
	case 'b':
		return int64(int8(r.u8()))
	case 'B':
		return int64(r.u8())
	case 's':
		return int64(int16(r.u16()))
	case 'u':
		return int64(r.u16())
	case 'I':
		return int64(int32(r.u32()))
	case 'i':
		return int64(r.u32())
	case 'l', 'L':
		return int64(r.u64())
	case 'f':
		return float64(math.Float32frombits(r.u32()))
	case 'd':
		return math.Float64frombits(r.u64())
	case 'D':
		return amqp.Decimal{Scale: r.u8(), Value: int32(r.u32())}
	case 'S':
		return string(r.long())
	case 'x':
		return string(r.long())
	case 'T':
		return time.Unix(int64(r.u64()), 0).UTC()
	case 'F':
		return r.table()
	case 'A':
		in := &reader{rest: r.long()}
		all := []any{}
		for len(in.rest) > 0 {
			all = append(all, in.value())
		}
		return all
	default: // void, or nothing that exists: what follows cannot be read
		return nil
	}
}

// properties reads a header frame: the size of the body, and the properties.
func (r *reader) properties() (size uint64, p properties) {
	r.take(4) // class and weight
	size = r.u64()
	flags := r.u16()
	has := func(bit int) bool { return flags&(1<<bit) != 0 }
	texts := func(bit int, to *string) {
		if has(bit) {
			*to = r.text()
		}
	}
	texts(15, &p.ContentType)
	texts(14, &p.ContentEncoding)
	if has(13) {
		p.Headers = r.table()
	}
	if has(12) {
		p.DeliveryMode = r.u8()
	}
	if has(11) {
		p.Priority = r.u8()
	}
	texts(10, &p.CorrelationID)
	texts(9, &p.ReplyTo)
	texts(8, &p.Expiration)
	texts(7, &p.MessageID)
	if has(6) {
		p.Timestamp = int64(r.u64())
	}
	texts(5, &p.Type)
	texts(4, &p.UserID)
	texts(3, &p.AppID)
	return size, p
}

// properties are a message's.
type properties struct {
	ContentType, ContentEncoding string
	Headers                      map[string]any
	DeliveryMode, Priority       uint8
	CorrelationID, ReplyTo       string
	Expiration, MessageID        string
	Timestamp                    int64
	Type, UserID, AppID          string
}

// A message is what travels in one publish, delivery or return.
type message struct {
	properties

	exchange, key string
	mandatory     bool
	body          []byte
}
