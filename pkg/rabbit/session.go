package rabbit

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/rabbit/internal/frames"
)

// answerTimeout is how long closing something waits for a broker that may not answer any more: see [session.patience].
const answerTimeout = 5 * time.Second

// session is one life of the connection. Between the driver and the network lie, from below, the [wire], TLS where the
// address asks for it, and the look at incoming frames.
type session struct {
	*amqp.Connection
	address string
	wire    *wire
	inbound *frames.Reader // nil before all of that stands
	unbind  func() bool
	closed  chan *amqp.Error
	blocks  chan amqp.Blocking
	silent  atomic.Bool // the broker has not answered in time, and not since

	roundTrip atomic.Int64 // nanoseconds that the quickest answer took; 0 before the first

	conn     *Conn
	hardened bool          // no direct reply-to makes the broker close the connection
	learn    sync.Once     // begins to proveOwn
	learned  chan struct{} // closed when that has ended
}

// open makes one attempt at one address, in its share of the time that ctx has left.
func (c *Conn) open(ctx context.Context, a address, shares int) (*session, error) {
	limit := c.config.DialTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/time.Duration(shares))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	properties := amqp.NewConnectionProperties()
	maps.Copy(properties, c.config.Properties)
	properties.SetClientConnectionName(c.config.Name)
	s := &session{address: a.shown, unbind: func() bool { return true }, conn: c, learned: make(chan struct{})}
	var err error
	s.Connection, err = amqp.DialConfig(a.plain, amqp.Config{
		SASL:       candid(a.logins, properties),
		Heartbeat:  c.config.Heartbeat,
		Properties: properties,
		Locale:     "en_US",
		Dial:       func(_, host string) (net.Conn, error) { return c.reach(ctx, s, a, host) },
	})
	s.unbind() // before cancel
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	s.inbound.Limit(s.Config.FrameSize)
	version, _ := s.Properties["version"].(string)
	s.hardened = hardened(version)
	s.closed = s.NotifyClose(make(chan *amqp.Error, 1))
	s.blocks = s.NotifyBlocked(make(chan amqp.Blocking, 8))
	return s, nil
}

// reach connects to a host, and returns what the driver is to read and write. Until unbind is called, the end of ctx
// ends reading and writing.
func (c *Conn) reach(ctx context.Context, s *session, a address, host string) (net.Conn, error) {
	var d net.Dialer
	n, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	s.wire = newWire(n, &c.blocked)
	// A peer that accepts and says nothing must not hold up the end of ctx.
	s.unbind = context.AfterFunc(ctx, func() { _ = n.SetDeadline(time.Unix(1, 0)) })
	var secured net.Conn = s.wire
	if a.tls != nil {
		client := tls.Client(s.wire, a.tls)
		if err := client.HandshakeContext(ctx); err != nil {
			return s.wire, err
		}
		secured = client
	}
	s.inbound = frames.NewReader(secured)
	return framedConn{secured, s.inbound, frames.NewWriter(secured, s.inbound)}, nil
}

// framedConn is a connection that is read through inbound, and written through outbound.
type framedConn struct {
	net.Conn
	inbound  *frames.Reader
	outbound *frames.Writer
}

func (c framedConn) Read(p []byte) (int, error)  { return c.inbound.Read(p) }
func (c framedConn) Write(p []byte) (int, error) { return c.outbound.Write(p) }

// failed ends what exists of a session, and returns why it cannot be used. Ctx is the attempt's.
func (s *session) failed(ctx context.Context, err error) error {
	if s.wire != nil {
		_ = s.wire.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return errors.New("the host accepted the connection, but did not answer in time")
		}
	}
	if s.inbound != nil {
		return explain(err, s.inbound.Failure())
	}
	return err
}

// alive reports whether the session can be written to, as far as anybody knows. The driver learns of a write that
// failed a moment after the wire does.
func (s *session) alive() bool { return !s.IsClosed() && !s.wire.failed.Load() }

// took notes how long the broker needed for an answer that costs it no work. Of two at once, either may count.
func (s *session) took(d time.Duration) {
	if least := s.roundTrip.Load(); least == 0 || int64(d) < least {
		s.roundTrip.Store(int64(d))
	}
}

// patience is how long closing something may wait for the broker's answer: at most so long, and hardly where one did not
// come in time. So a process that ends piece by piece waits once for a broker that hangs, not for every piece.
func (s *session) patience(most time.Duration) time.Duration {
	if s.silent.Load() {
		return 100 * time.Millisecond
	}
	return most
}
