// Package frames reads the frames that a broker sends, and mends what the driver could not read; and it writes those that the
// driver sends. Both leave out what belongs to a channel that has ended.
package frames

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// Overhead is how many bytes a frame has beside its payload: type, channel, size, and the octet at the end.
const Overhead = 8

// The driver gives up the connection where headers nest deeper, or one of their tables or arrays has more entries.
const (
	MaxDepth   = 32
	MaxEntries = 8192
)

const (
	headerFrame = 2
	headersFlag = 1 << 13
	// maxHeaderFrame is the largest header frame that is looked at: before a size of frames is agreed on, and then. A
	// message from AMQP 1.0, whose frames are put together, may have headers as large as the largest message.
	maxEarlyFrame, maxHeaderFrame = 1 << 20, 1 << 28
	// maxKept is how many bytes the headers may have together that are kept where the others are dropped.
	maxKept = 1 << 10
)

// Dropped is the name of the header that replaces headers that cannot be carried on; it says why.
const Dropped = "leveret-headers-dropped"

// A Reader is the stream of frames from the broker, without what would make the driver give up the connection: headers
// that RabbitMQ carries but the driver cannot read. Without it one message from a foreign sender would end the
// connection each time it is delivered, together with whatever else is handled at that moment. It makes two changes to
// the header frames of messages:
//
//   - a 64-bit integer of type 'L', as Python's py-amqp writes it, becomes one of type 'l', which RabbitMQ takes it
//     for;
//   - headers that nest deeper than 32, have more than 8192 entries in one table, are malformed, or make the frame
//     larger than was agreed on, as those do to which the broker has added its own, are replaced by one that says so.
//     Those stay by which a queue counts deliveries, and says why it gave a message up.
//
// It leaves out what comes for a channel between its reopening and the broker's answer to that: it is meant for the last
// channel of that number, and the driver would take it for the answer. Such is the broker's answer to a close that has
// crossed its own. Everything else is passed through.
type Reader struct {
	source    *bufio.Reader
	limit     atomic.Int64 // the size of frames that was agreed on; 0 before that
	rest      int          // bytes of the frame that is being passed through
	held      []byte       // what is left of a header frame
	buffer    []byte
	reopening sync.Map              // the channels whose reopening is not answered yet
	failed    atomic.Pointer[error] // what reading has ended with
}

// NewReader reads frames from source.
func NewReader(source io.Reader) *Reader {
	return &Reader{source: bufio.NewReaderSize(source, 32<<10)}
}

// Limit sets the size of frames that was agreed on, all of their bytes counted; 0 is no limit.
func (f *Reader) Limit(size int) { f.limit.Store(int64(size)) }

// Read returns bytes of one frame at a time.
func (f *Reader) Read(p []byte) (int, error) {
	n, err := f.read(p)
	if err != nil {
		f.failed.Store(&err)
	}
	return n, err
}

// Failure returns what reading has ended with: of that, the driver passes on the text at best.
func (f *Reader) Failure() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *Reader) read(p []byte) (int, error) {
	for len(f.held) == 0 && f.rest == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if len(f.held) > 0 {
		n := copy(p, f.held)
		f.held = f.held[n:]
		return n, nil
	}
	n, err := f.source.Read(p[:min(len(p), f.rest)])
	f.rest -= n
	return n, err
}

// next begins a frame: one that needs no look is passed through, a message's header frame is held as it may go on, and one for
// a channel that is being reopened is left out.
func (f *Reader) next() error {
	head, err := f.source.Peek(Overhead - 1)
	if err != nil {
		if len(head) > 0 {
			err = unexpected(err)
		}
		return err
	}
	payload := binary.BigEndian.Uint32(head[3:7])
	size, limit := int(payload)+Overhead, int(f.limit.Load())
	channel := binary.BigEndian.Uint16(head[1:])
	if _, reopening := f.reopening.Load(channel); reopening {
		if head, err = f.source.Peek(methodHead); err != nil { // the answer is still to come, so there is as much
			return unexpected(err)
		}
		if head[0] != frameMethod || binary.BigEndian.Uint32(head[frameHead:]) != openChannelOk {
			_, err = f.source.Discard(size)
			return unexpected(err)
		}
		f.reopening.Delete(channel)
	}
	largest := maxEarlyFrame
	if limit > 0 {
		largest = maxHeaderFrame
	}
	if head[0] != headerFrame || size > largest {
		f.rest = size
		return nil
	}
	if cap(f.buffer) < size || cap(f.buffer) > maxEarlyFrame {
		f.buffer = make([]byte, size, max(size, 1<<10))
	}
	frame := f.buffer[:size]
	if _, err := io.ReadFull(f.source, frame); err != nil {
		return err
	}
	f.held = readable(frame, limit)
	return nil
}

// unexpected is the error of an end in the middle of a frame.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readable returns a header frame as the driver can read it: unchanged where it can. A frame whose headers cannot be
// found is left to the driver's judgement.
func readable(frame []byte, limit int) []byte {
	const (
		before = 7 + 2 + 2 + 8 // the frame's head, class, weight, and the size of the body
		fixed  = before + 2    // and the flags of the properties
	)
	if len(frame) < fixed+1 {
		return frame
	}
	flags := binary.BigEndian.Uint16(frame[before:fixed])
	if flags&headersFlag == 0 {
		return frame
	}
	at := fixed
	for _, flag := range [...]uint16{1 << 15, 1 << 14} { // content type and encoding come before the headers
		if flags&flag != 0 {
			if at >= len(frame) {
				return frame
			}
			at += 1 + int(frame[at])
		}
	}
	if at+4 > len(frame)-1 {
		return frame
	}
	size := int(binary.BigEndian.Uint32(frame[at : at+4]))
	end := at + 4 + size
	if size > len(frame) || end > len(frame)-1 {
		return frame
	}
	switch err := mend(frame[at+4:end], true, 0); {
	case err != nil:
		return replaceTable(frame, at, end, err.Error())
	case limit > 0 && len(frame) > limit:
		return replaceTable(frame, at, end, "larger than a frame of this connection, with what the broker has added")
	default:
		return frame
	}
}

// replaceTable returns the frame with another table in the place of the one at frame[at:end].
func replaceTable(frame []byte, at, end int, why string) []byte {
	table := append([]byte{byte(len(Dropped))}, Dropped...)
	table = binary.BigEndian.AppendUint32(append(table, 'S'), uint32(len(why)))
	table = append(append(table, why...), kept(frame[at+4:end])...)
	out := make([]byte, 0, at+4+len(table)+len(frame)-end)
	out = append(out, frame[:at]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(table)))
	out = append(out, table...)
	out = append(out, frame[end:]...)
	binary.BigEndian.PutUint32(out[3:7], uint32(len(out)-Overhead))
	return out
}

// kept returns those entries of a table that stay where the others are dropped.
func kept(table []byte) (out []byte) {
	for len(table) > 0 {
		size := 1 + int(table[0])
		if size >= len(table) {
			break
		}
		name := string(table[1:size])
		rest, err := mendField(table[size:], 0)
		if rest == nil {
			break
		}
		entry := table[:len(table)-len(rest)]
		switch name {
		case "x-delivery-count", "x-acquired-count", "x-first-death-reason", "x-last-death-reason":
			if err == nil && len(out)+len(entry) <= maxKept {
				out = append(out, entry...)
			}
		}
		table = rest
	}
	return out
}

var (
	errTooMany   = errors.New("nested deeper than 32, or of more than 8192 entries")
	errMalformed = errors.New("malformed")
)

// mend walks through the bytes of a table, or of an array, whose values have no names, and changes the type of what the
// driver would not know.
func mend(b []byte, named bool, depth int) (err error) {
	if depth > MaxDepth {
		return errTooMany
	}
	for entries := 0; len(b) > 0; entries++ {
		if entries == MaxEntries {
			return errTooMany
		}
		if named {
			name := 1 + int(b[0])
			if name >= len(b) {
				return errMalformed
			}
			b = b[name:]
		}
		if b, err = mendField(b, depth); err != nil {
			return err
		}
	}
	return nil
}

// sizes are those of values whose type says how long they are, plus one.
var sizes = [256]int{
	'V': 1, 't': 2, 'b': 2, 'B': 2, 's': 3, 'u': 3, 'I': 5, 'i': 5, 'f': 5, 'D': 6, 'L': 9, 'l': 9, 'd': 9, 'T': 9,
}

// mendField takes one value off b.
func mendField(b []byte, depth int) (rest []byte, err error) {
	kind, size := b[0], sizes[b[0]]
	switch kind {
	case 'L':
		b[0] = 'l'
	case 'S', 'x', 'F', 'A':
		if len(b) < 5 || uint64(binary.BigEndian.Uint32(b[1:5])) > uint64(len(b)-5) {
			return nil, errMalformed
		}
		size = 5 + int(binary.BigEndian.Uint32(b[1:5]))
	}
	if size == 0 || len(b) < size {
		return nil, errMalformed
	}
	if kind == 'F' || kind == 'A' {
		err = mend(b[5:size], kind == 'F', depth+1)
	}
	return b[size:], err
}
