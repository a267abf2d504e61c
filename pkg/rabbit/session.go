package rabbit

import (
	"context"
	"maps"
	"net"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/rabbit/internal/frames"
)

// answerTimeout is how long closing something waits for a broker that may not answer any more: see [session.patience].
const answerTimeout = 5 * time.Second

// session is one life of the connection.
type session struct {
	*amqp.Connection
	*link
	address string
	closed  chan *amqp.Error
	blocks  chan amqp.Blocking
	silent  atomic.Bool // the broker has not answered in time, and not since
}

// link is what lies between the driver and the network: from below the [wire], TLS where the address asks for it, and
// the look at incoming frames.
type link struct {
	wire    *wire
	inbound *frames.Reader // nil before all of that stands
	unbind  func() bool
}

// open makes one attempt at one address.
func (c *Conn) open(ctx context.Context, a address) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.DialTimeout)
	defer cancel()
	properties := amqp.NewConnectionProperties()
	maps.Copy(properties, c.config.Properties)
	properties.SetClientConnectionName(c.config.Name)
	l := &link{unbind: func() bool { return true }}
	conn, err := amqp.DialConfig(a.plain, amqp.Config{
		SASL:       candid(a.logins, properties),
		Heartbeat:  c.config.Heartbeat,
		Properties: properties,
		Locale:     "en_US",
		Dial:       func(_, host string) (net.Conn, error) { return c.dialLink(ctx, l, a, host) },
	})
	l.unbind() // before cancel
	if err != nil {
		return nil, l.failed(err)
	}
	return &session{
		Connection: conn, link: l, address: a.shown,
		closed: conn.NotifyClose(make(chan *amqp.Error, 1)),
		blocks: conn.NotifyBlocked(make(chan amqp.Blocking, 8)),
	}, nil
}

// dialLink connects to a host, and returns what the driver is to read and write. Until unbind is called, the end of ctx
// ends reading and writing.
func (c *Conn) dialLink(ctx context.Context, l *link, a address, host string) (net.Conn, error) {
	var d net.Dialer
	n, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	l.wire = newWire(n, &c.blocked)
	deadline, _ := ctx.Deadline()
	if err := n.SetDeadline(deadline); err != nil { // the driver lifts it when it has logged in
		return l.wire, err
	}
	// A peer that accepts and says nothing must not hold up the end of ctx.
	l.unbind = context.AfterFunc(ctx, func() { _ = n.SetDeadline(time.Unix(1, 0)) })
	secured, err := a.secure(ctx, l.wire, c.config.TLS)
	if err != nil {
		return l.wire, err
	}
	l.inbound = frames.NewReader(secured)
	return readableConn{secured, l.inbound}, nil
}

// readableConn is a connection that is read through inbound.
type readableConn struct {
	net.Conn
	inbound *frames.Reader
}

func (c readableConn) Read(p []byte) (int, error) { return c.inbound.Read(p) }

// failed ends what stands of the link, and explains why it is of no use.
func (l *link) failed(err error) error {
	if l.wire != nil {
		_ = l.wire.Close()
	}
	if l.inbound != nil {
		return explain(err, l.inbound.Failure())
	}
	return err
}

// alive reports whether the session can be written to, as far as anybody knows. The driver learns of a write that failed a
// moment after the wire does.
func (s *session) alive() bool { return !s.IsClosed() && !s.wire.failed.Load() }

// patience is how long closing something may wait for the broker's answer: hardly, where one did not come in time. So a
// process that ends piece by piece waits once for a broker that hangs, not for every piece.
func (s *session) patience() time.Duration {
	if s.silent.Load() {
		return 100 * time.Millisecond
	}
	return answerTimeout
}

func (s *session) version() string {
	v, _ := s.Properties["version"].(string)
	return v
}
