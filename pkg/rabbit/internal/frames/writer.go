package frames

import (
	"encoding/binary"
	"io"
	"sync"
)

// A Writer writes frames to the broker, but for those of channels that have ended. A goroutine that has seen an open channel
// may write to it a moment after the reader has answered the broker's channel.close, and the broker closes the connection
// over that (504, expected 'channel.open'). So it does over a second channel.close-ok: RabbitMQ 3.10 closes a channel again
// for each channel_tick_interval in which the first close is not answered. It is safe for concurrent use.
type Writer struct {
	to io.Writer // which must not block

	mu     sync.Mutex
	filter filter
	out    []byte
}

// NewWriter makes a writer, before the protocol header is written. The reader is that of the same connection.
func NewWriter(to io.Writer, reader *Reader) *Writer {
	return &Writer{to: to, filter: newFilter(func(channel uint16) { reader.reopening.Store(channel, nil) })}
}

// Write writes what of p goes to the broker.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = w.filter.appendTo(w.out[:0], p)
	if _, err := w.to.Write(w.out); err != nil {
		return 0, err //nolint:wrapcheck // the driver's reader has more to say of it
	}
	if cap(w.out) > maxBuffer {
		w.out = nil
	}
	return len(p), nil
}

// maxBuffer is how large a buffer is kept for the next write.
const maxBuffer = 1 << 20

// filter is what is known of the frames that were written.
type filter struct {
	head     []byte         // of the frame that begins, as far as it has been written
	left     int            // bytes of the current frame that are still to come
	drop     bool           // the current frame is left out
	ended    map[uint16]end // channels whose end was written, and no new beginning
	reopened func(channel uint16)
}

// An end is how a channel ended.
type end int

const (
	closed   end = iota + 1 // by a close of our own, which the broker's may have crossed
	answered                // by the answer to the broker's close, after which only an open may come
)

// newFilter begins with the protocol header, which is no frame. It calls reopened before a channel that has ended is opened.
func newFilter(reopened func(channel uint16)) filter {
	return filter{left: len("AMQP\x00\x00\x09\x01"), ended: make(map[uint16]end), reopened: reopened}
}

const (
	frameMethod    = 1
	frameHead      = 7             // type, channel, size
	methodHead     = frameHead + 4 // and class, method
	frameEnd       = 1
	openChannel    = 20<<16 | 10
	openChannelOk  = 20<<16 | 11
	closeChannel   = 20<<16 | 40
	closeChannelOk = 20<<16 | 41
)

// appendTo appends to dst what of p goes to the broker. Writes may end anywhere in a frame.
func (f *filter) appendTo(dst, p []byte) []byte {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			if !f.drop {
				dst = append(dst, p[:n]...)
			}
			p, f.left = p[n:], f.left-n
			continue
		}
		need := frameHead
		if len(f.head) > 0 && f.head[0] == frameMethod || len(f.head) == 0 && p[0] == frameMethod {
			need = methodHead
		}
		n := min(need-len(f.head), len(p))
		f.head, p = append(f.head, p[:n]...), p[n:]
		if len(f.head) < need {
			break
		}
		channel := binary.BigEndian.Uint16(f.head[1:])
		method := uint32(0)
		if need == methodHead {
			method = binary.BigEndian.Uint32(f.head[frameHead:])
		}
		f.drop = f.ended[channel] != 0
		switch method {
		case openChannel:
			if f.drop {
				f.reopened(channel)
			}
			f.drop = false
			delete(f.ended, channel)
		case closeChannel:
			f.ended[channel] = max(f.ended[channel], closed)
		case closeChannelOk:
			f.drop = f.ended[channel] == answered
			f.ended[channel] = answered
		}
		if !f.drop {
			dst = append(dst, f.head...)
		}
		f.left = frameHead + int(binary.BigEndian.Uint32(f.head[3:])) + frameEnd - len(f.head)
		f.head = f.head[:0]
	}
	return dst
}
