package conformance

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
)

// A fate is what becomes of a client's publish.
type fate int

const (
	passes  fate = iota // the broker has it
	refuses             // the broker drops it, and the client is sent a nack
	strays              // the broker drops it, and returns it if it is mandatory
	waits               // the broker has it, and its confirm is held until release
)

// nowhere is an exchange without a queue: what is dropped goes there.
const nowhere = "conformance.nowhere"

// A proxy stands between the client and the broker. It records what passes, and decides on the fate of publishes. Clients
// use the default virtual host; the proxy makes that the kit's.
type proxy struct {
	listener net.Listener
	upstream string
	vhost    string
	trace    *trace
	running  sync.WaitGroup

	mu    sync.Mutex
	fate  func(*message) fate // nil passes everything
	links map[*link]bool
	count int
}

func startProxy(ctx context.Context, upstream, vhost string, t *trace) (*proxy, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, upstream: upstream, vhost: vhost, trace: t, links: make(map[*link]bool)}
	p.running.Go(p.accept)
	return p, nil
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
	p.running.Wait()
}

// decide sets what becomes of the publishes from now on.
func (p *proxy) decide(f func(*message) fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fate = f
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.links))
	p.mu.Unlock()
	for _, l := range all {
		if tcp, ok := l.near.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		l.close()
	}
}

// release sends the confirms that were held.
func (p *proxy) release() {
	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.links))
	p.mu.Unlock()
	for _, l := range all {
		l.release()
	}
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.upstream) //nolint:noctx // closing the listener ends it all
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.count++
		l := &link{proxy: p, id: p.count, near: near, far: far, channels: make(map[uint16]*channel)}
		p.links[l] = true
		p.mu.Unlock()
		p.running.Go(l.run)
	}
}

// A link is one connection of the client, and the one to the broker that belongs to it.
type link struct {
	proxy     *proxy
	id        int
	near, far net.Conn

	writing  sync.Mutex // to near
	mu       sync.Mutex
	channels map[uint16]*channel
}

// A channel is the state of one channel.
type channel struct {
	up, down content
	confirms bool
	count    uint64 // publishes since confirms were asked for
	open     map[uint64]fate
	held     []uint64 // tags whose confirm is held
	// exclusive belongs to the queue that was declared last.
	exclusive bool
}

// content is a message that arrives in several frames.
type content struct {
	event  *event
	frames []frame
	left   uint64
}

func (l *link) close() {
	l.near.Close()
	l.far.Close()
}

func (l *link) run() {
	var both sync.WaitGroup
	both.Go(func() {
		defer l.close()
		l.pass(l.near, l.far, true)
	})
	both.Go(func() {
		defer l.close()
		l.pass(l.far, l.near, false)
	})
	both.Wait()
	l.proxy.mu.Lock()
	delete(l.proxy.links, l)
	l.proxy.mu.Unlock()
	l.record(event{what: lost})
}

func (l *link) record(e event) {
	e.conn = l.id
	l.proxy.trace.add(e)
}

// pass reads frames until the connection ends.
func (l *link) pass(from, to net.Conn, up bool) {
	in := bufio.NewReader(from)
	if up { // the protocol header comes first
		var header [8]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return
		}
		if _, err := to.Write(header[:]); err != nil {
			return
		}
	}
	for {
		f, err := readFrame(in)
		if err != nil {
			if !up && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				_, _ = io.Copy(to, in) // not AMQP 0-9-1 any more
			}
			return
		}
		var frames []frame
		if up {
			frames = l.fromClient(f)
		} else {
			frames = l.fromBroker(f)
		}
		if err := l.write(to, frames); err != nil {
			return
		}
	}
}

func (l *link) write(to net.Conn, frames []frame) error {
	var b []byte
	for _, f := range frames {
		b = append(b, f.bytes()...)
	}
	if to == l.near {
		l.writing.Lock()
		defer l.writing.Unlock()
	}
	_, err := to.Write(b)
	return err
}

func (l *link) channel(number uint16) *channel {
	c := l.channels[number]
	if c == nil {
		c = &channel{open: make(map[uint64]fate)}
		l.channels[number] = c
	}
	return c
}

// complete adds a header or a body frame to a message that arrives, and reports whether that was the last.
func (c *content) complete(f frame) bool {
	switch {
	case c.event == nil:
		return false
	case f.kind == headerFrame:
		c.left, c.event.message.properties = (&reader{rest: f.payload}).properties()
	default:
		c.event.message.body = append(c.event.message.body, f.payload...)
		c.left -= min(c.left, uint64(len(f.payload)))
	}
	c.frames = append(c.frames, f)
	return c.left == 0
}

// fromClient records a frame of the client, and returns what the broker gets.
func (l *link) fromClient(f frame) []frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channel(f.channel)
	if f.kind == headerFrame || f.kind == bodyFrame {
		if c.up.event == nil {
			return []frame{f}
		}
		if !c.up.complete(f) {
			return nil
		}
		return l.publish(c)
	}
	if f.kind != methodFrame {
		return []frame{f}
	}
	m, r := f.method()
	e := event{channel: f.channel}
	switch m {
	case connectionOpen:
		b := binary.BigEndian.AppendUint16(nil, m[0])
		b = short(binary.BigEndian.AppendUint16(b, m[1]), l.proxy.vhost)
		l.record(event{what: opened})
		b = append(b, 0, 0)
		f.payload = b
		return []frame{f}
	case channelOpen:
		delete(l.channels, f.channel)
		return []frame{f}
	case confirmSelect:
		e.what, c.confirms = selected, true
	case basicQos:
		r.u32()
		e.what, e.prefetch = bounded, r.u16()
	case basicConsume:
		r.u16()
		e.what, e.queue = consumed, r.text()
		r.text()
		e.noAck = r.u8()&2 != 0
	case basicGet:
		r.u16()
		e.what, e.queue = polled, r.text()
	case queueDeclare:
		r.u16()
		e.what, e.queue = declared, r.text()
		e.exclusive = r.u8()&4 != 0
		e.args = r.table()
		c.exclusive = e.exclusive
	case exchangeDeclare:
		r.u16()
		e.what, e.exchange = declared, r.text()
	case queueBind:
		r.u16()
		e.what, e.queue, e.exchange, e.key = bound, r.text(), r.text(), r.text()
	case basicAck:
		e.what, e.tag, e.multiple = acked, r.u64(), r.u8()&1 != 0
	case basicNack:
		e.what, e.tag = nacked, r.u64()
		bits := r.u8()
		e.multiple, e.requeue = bits&1 != 0, bits&2 != 0
	case basicReject:
		e.what, e.tag, e.requeue = rejected, r.u64(), r.u8()&1 != 0
	case basicPublish:
		r.u16()
		p := &message{exchange: r.text(), key: r.text()}
		p.mandatory = r.u8()&1 != 0
		c.up = content{event: &event{what: published, channel: f.channel, message: p}, frames: []frame{f}}
		return nil
	default:
		return []frame{f}
	}
	l.record(e)
	return []frame{f}
}

// publish decides on the fate of a message that the client has published.
func (l *link) publish(c *channel) []frame {
	e, frames := c.up.event, c.up.frames
	c.up = content{}
	l.proxy.mu.Lock()
	decide := l.proxy.fate
	l.proxy.mu.Unlock()
	becomes := passes
	if decide != nil {
		becomes = decide(e.message)
	}
	if c.confirms {
		c.count++
		e.tag = c.count
		c.open[e.tag] = becomes
	}
	l.record(*e)
	if becomes == refuses || becomes == strays {
		b := binary.BigEndian.AppendUint16(nil, basicPublish[0])
		b = binary.BigEndian.AppendUint16(b, basicPublish[1])
		b = short(short(append(b, 0, 0), nowhere), e.message.key)
		bits := byte(0)
		if becomes == strays && e.message.mandatory {
			bits = 1
		}
		b = append(b, bits)
		frames[0].payload = b
	}
	return frames
}

// fromBroker records a frame of the broker, and returns what the client gets.
func (l *link) fromBroker(f frame) []frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channel(f.channel)
	if f.kind == headerFrame || f.kind == bodyFrame {
		if c.down.event != nil && c.down.complete(f) {
			l.record(*c.down.event)
			c.down = content{}
		}
		return []frame{f}
	}
	if f.kind != methodFrame {
		return []frame{f}
	}
	m, r := f.method()
	switch m {
	case basicDeliver:
		r.text()
		e := event{what: delivered, channel: f.channel, tag: r.u64(), redelivered: r.u8()&1 != 0}
		e.message = &message{exchange: r.text(), key: r.text()}
		c.down = content{event: &e}
	case basicReturn:
		code, text := r.u16(), r.text()
		c.down = content{event: &event{
			what: returned, channel: f.channel, code: code, text: text, message: &message{exchange: r.text(), key: r.text()},
		}}
	case basicAck, basicNack:
		if tag := r.u64(); c.confirms {
			return l.confirm(f.channel, c, m, tag, r.u8()&1 != 0)
		}
	case channelClose, connectionClose:
		l.record(event{what: closed, channel: f.channel, code: r.u16(), text: r.text()})
	case queueDeclareOK:
		l.record(event{what: exists, channel: f.channel, queue: r.text(), exclusive: c.exclusive})
	case basicConsumeOK:
		l.record(event{what: consuming, channel: f.channel})
	}
	return []frame{f}
}

// confirm passes confirms on, one by one: those of publishes that are to be refused as nacks.
func (l *link) confirm(number uint16, c *channel, m method, tag uint64, multiple bool) (frames []frame) {
	for _, t := range slices.Sorted(maps.Keys(c.open)) {
		if t != tag && (!multiple || tag != 0 && t > tag) {
			continue
		}
		becomes := c.open[t]
		delete(c.open, t)
		if becomes == waits {
			c.held = append(c.held, t)
			continue
		}
		answer, e := basicAck, event{what: confirmed, channel: number, tag: t}
		if m == basicNack || becomes == refuses {
			answer, e.what = basicNack, refused
		}
		l.record(e)
		frames = append(frames, settlement(number, answer, t))
	}
	return frames
}

func (l *link) release() {
	l.mu.Lock()
	var frames []frame
	for number, c := range l.channels {
		for _, t := range c.held {
			l.record(event{what: confirmed, channel: number, tag: t})
			frames = append(frames, settlement(number, basicAck, t))
		}
		c.held = nil
		for t, becomes := range c.open {
			if becomes == waits { // the broker has not confirmed it yet
				c.open[t] = passes
			}
		}
	}
	l.mu.Unlock()
	_ = l.write(l.near, frames) // an error means that the connection is gone
}
