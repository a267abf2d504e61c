package conformance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The kinds of frame of AMQP 0-9-1.
const (
	methodFrame = 1
	headerFrame = 2
	bodyFrame   = 3
)

const (
	frameHead = 7    // kind, channel, and the payload's size
	frameEnd  = 0xCE // the octet after the payload
	maxFrame  = 64 << 20
)

// A frame is what the two ends of a connection exchange.
type frame struct {
	kind    byte
	channel uint16
	payload []byte
}

func readFrame(r *bufio.Reader) (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: head[0], channel: binary.BigEndian.Uint16(head[1:])}
	size := binary.BigEndian.Uint32(head[3:])
	if size > maxFrame {
		return frame{}, fmt.Errorf("a frame of %d bytes; at most %d are read", size, maxFrame)
	}
	f.payload = make([]byte, size+1)
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, err
	}
	if f.payload[size] != frameEnd {
		return frame{}, errors.New("a frame does not end as frames do")
	}
	f.payload = f.payload[:size]
	return f, nil
}

func (f frame) bytes() []byte {
	b := make([]byte, 0, frameHead+len(f.payload)+1)
	b = append(b, f.kind)
	b = binary.BigEndian.AppendUint16(b, f.channel)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.payload)))
	return append(append(b, f.payload...), frameEnd)
}

// A method is a method of AMQP, by the numbers of its class and its own.
type method [2]uint16

var (
	connectionOpen  = method{10, 40}
	connectionClose = method{10, 50}
	channelOpen     = method{20, 10}
	channelClose    = method{20, 40}
	exchangeDeclare = method{40, 10}
	queueDeclare    = method{50, 10}
	queueDeclareOK  = method{50, 11}
	queueBind       = method{50, 20}
	basicQos        = method{60, 10}
	basicConsume    = method{60, 20}
	basicConsumeOK  = method{60, 21}
	basicPublish    = method{60, 40}
	basicReturn     = method{60, 50}
	basicDeliver    = method{60, 60}
	basicGet        = method{60, 70}
	basicAck        = method{60, 80}
	basicReject     = method{60, 90}
	basicNack       = method{60, 120}
	confirmSelect   = method{85, 10}
)

// method returns the method of a method frame, and a reader of its arguments.
func (f frame) method() (method, *reader) {
	r := &reader{rest: f.payload}
	return method{r.u16(), r.u16()}, r
}

// settlement makes the frame of a basic.ack or a basic.nack for one tag.
func settlement(channel uint16, m method, tag uint64) frame {
	b := binary.BigEndian.AppendUint16(nil, m[0])
	b = binary.BigEndian.AppendUint16(b, m[1])
	b = binary.BigEndian.AppendUint64(b, tag)
	return frame{kind: methodFrame, channel: channel, payload: append(b, 0)}
}

// short appends a short string.
func short(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }
