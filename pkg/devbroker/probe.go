package devbroker

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// probe opens a connection as an AMQP 0-9-1 client would and reads the broker's
// connection.start, since an open port alone does not mean that the broker answers.
// It returns the broker's version, or "" if the broker does not send it.
func (a address) probe(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var conn net.Conn
	if a.TLS {
		conn, err = (&tls.Dialer{Config: a.tls}).DialContext(ctx, "tcp", a.AMQP)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", a.AMQP)
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return "", err
	}
	header := make([]byte, 7) // frame type, channel, size
	if _, err := io.ReadFull(conn, header); err != nil {
		return "", fmt.Errorf("no AMQP 0-9-1 answer from %s: %w", a.AMQP, err)
	}
	size := binary.BigEndian.Uint32(header[3:])
	if header[0] != 1 || size > 1<<16 {
		return "", fmt.Errorf("no AMQP 0-9-1 answer from %s: the answer begins with % x", a.AMQP, header)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(conn, frame); err != nil {
		return "", fmt.Errorf("no AMQP 0-9-1 answer from %s: %w", a.AMQP, err)
	}
	return startVersion(frame)
}

var errNoStart = errors.New("the broker's first frame is not connection.start")

// startVersion finds "version" among the server properties of a connection.start:
// class and method (2 bytes each), protocol version (1+1), a table.
func startVersion(frame []byte) (string, error) {
	if len(frame) < 10 || binary.BigEndian.Uint32(frame) != 10<<16|10 {
		return "", errNoStart
	}
	table := frame[10:]
	if size := binary.BigEndian.Uint32(frame[6:]); uint64(size) < uint64(len(table)) {
		table = table[:size]
	}
	for len(table) > 0 {
		name, rest, ok := cut(table, 1)
		if !ok || len(rest) < 5 {
			break
		}
		kind, value := rest[0], rest[1:]
		switch kind {
		case 't':
			table = value[1:]
		case 'S', 'F':
			var text []byte
			if text, table, ok = cut(value, 4); !ok {
				return "", nil
			}
			if string(name) == "version" && kind == 'S' {
				return string(text), nil
			}
		default: // RabbitMQ sends no other kind here
			return "", nil
		}
	}
	return "", nil
}

// cut cuts off a text that is preceded by its length in width bytes.
func cut(from []byte, width int) (text, rest []byte, ok bool) {
	if len(from) < width {
		return nil, nil, false
	}
	size := uint64(from[0])
	if width == 4 {
		size = uint64(binary.BigEndian.Uint32(from))
	}
	from = from[width:]
	if uint64(len(from)) < size {
		return nil, nil, false
	}
	return from[:size], from[size:], true
}
