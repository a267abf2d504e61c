// Package wire counts the frames that a client and the broker write to each other.
package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
)

// A Flow is what travelled in one direction, without heartbeats, whose number depends on the time.
type Flow struct{ Frames, Bytes int64 }

// A Count is what a tap has seen so far.
type Count struct {
	// Connections and Channels are those that are open now.
	Connections, Channels int64
	// Written is what the client wrote, Read what it read.
	Written, Read Flow
}

// Since returns what travelled after an earlier count, and what is open now.
func (c Count) Since(earlier Count) Count {
	c.Written.Frames -= earlier.Written.Frames
	c.Written.Bytes -= earlier.Written.Bytes
	c.Read.Frames -= earlier.Read.Frames
	c.Read.Bytes -= earlier.Read.Bytes
	return c
}

// A Tap is a proxy between a client and the broker. What is passed on has been counted before. Its methods are safe for
// concurrent use.
type Tap struct {
	listener              net.Listener
	url                   url.URL
	broker                string
	written, read         flow
	connections, channels atomic.Int64
	all                   sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

type flow struct{ frames, bytes atomic.Int64 }

func (f *flow) now() Flow { return Flow{f.frames.Load(), f.bytes.Load()} }

// Listen starts a tap for the broker at an amqp URL.
func Listen(broker string) (*Tap, error) {
	u, err := url.Parse(broker)
	if err != nil || u.Scheme != "amqp" || u.Port() == "" {
		return nil, errors.New("only a broker at amqp://host:port can be tapped")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &Tap{listener: listener, url: *u, broker: u.Host, open: make(map[net.Conn]struct{})}
	t.url.Host = listener.Addr().String()
	t.all.Go(t.accept)
	return t, nil
}

// URL is the tap's own, for the client.
func (t *Tap) URL() string { return t.url.String() }

// Count returns what the tap has seen so far.
func (t *Tap) Count() Count {
	return Count{t.connections.Load(), t.channels.Load(), t.written.now(), t.read.now()}
}

// Close closes all connections and waits until the tap's goroutines have ended.
func (t *Tap) Close() {
	_ = t.listener.Close()
	t.mu.Lock()
	t.closed = true
	for c := range t.open {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.all.Wait()
}

// Each connection takes these goroutines and bytes of the process, which are not the client's.
const (
	GoroutinesEach = 2
	BytesEach      = 2 * buffer
	buffer         = 16 << 10
)

func (t *Tap) accept() {
	for {
		client, err := t.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", t.broker)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !t.add(client, broker) {
			return
		}
		t.connections.Add(1)
		channels := new(atomic.Int64)
		written, read := newParser(&t.written, channels, &t.channels), newParser(&t.read, channels, &t.channels)
		written.skip = len("AMQP\x00\x00\x09\x01") // which comes before the first frame
		ended := sync.OnceFunc(func() {
			_, _ = client.Close(), broker.Close()
			t.remove(client, broker)
			t.connections.Add(-1)
			t.channels.Add(-channels.Load()) // of a connection that ends with its channels open
		})
		t.all.Go(func() { pass(broker, client, written); ended() })
		t.all.Go(func() { pass(client, broker, read); ended() })
	}
}

func (t *Tap) add(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		t.open[c] = struct{}{}
		if t.closed {
			_ = c.Close()
		}
	}
	return !t.closed
}

func (t *Tap) remove(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		delete(t.open, c)
	}
}

func pass(to io.Writer, from io.Reader, p *parser) {
	b := make([]byte, buffer)
	for {
		n, err := from.Read(b)
		p.see(b[:n])
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

// A parser finds the frames in what passes: a type, a channel, a size; as many bytes; an end.
type parser struct {
	flow        *flow
	mine, total *atomic.Int64 // channels: of this connection, and of all
	skip        int           // bytes before the next frame
	head        []byte        // of the frame that is begun, as far as it is needed
}

const (
	frameHead  = 7
	methodHead = frameHead + 4 // with class and method
	frameEnd   = 1

	frameMethod, frameHeartbeat = 1, 8

	channelOpen, channelCloseOK = 20<<16 | 10, 20<<16 | 41
)

func newParser(f *flow, mine, total *atomic.Int64) *parser {
	return &parser{flow: f, mine: mine, total: total, head: make([]byte, 0, methodHead)}
}

func (p *parser) see(b []byte) {
	for len(b) > 0 {
		if p.skip > 0 {
			n := min(p.skip, len(b))
			p.skip -= n
			b = b[n:]
			continue
		}
		want := frameHead
		if len(p.head) >= frameHead {
			want = methodHead
		}
		n := min(want-len(p.head), len(b))
		p.head = append(p.head, b[:n]...)
		b = b[n:]
		if len(p.head) == methodHead || len(p.head) == frameHead && p.head[0] != frameMethod {
			p.frame()
		}
	}
}

// frame counts the frame whose head is complete.
func (p *parser) frame() {
	size := int(binary.BigEndian.Uint32(p.head[3:]))
	p.skip = frameHead + size + frameEnd - len(p.head)
	if p.head[0] != frameHeartbeat {
		p.flow.frames.Add(1)
		p.flow.bytes.Add(int64(frameHead + size + frameEnd))
	}
	if p.head[0] == frameMethod {
		switch binary.BigEndian.Uint32(p.head[frameHead:]) {
		case channelOpen:
			p.mine.Add(1)
			p.total.Add(1)
		case channelCloseOK:
			p.mine.Add(-1)
			p.total.Add(-1)
		}
	}
	p.head = p.head[:0]
}
