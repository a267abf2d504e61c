package leveret_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestOpen: what is opened waits for the broker, and then does everything.
func TestOpen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way := b.proxy()
	way.refuse(true)
	failed := make(chan error, 1)
	conn, err := leveret.Open(leveret.ConnConfig{URLs: []string{way.url}, Logger: b.log, OnFailure: func(err error) {
		select {
		case failed <- err:
		default:
		}
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(b.ctx))) })
	do, ask := leveret.NewCommand[thing]("a.do"), leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(patience))
	service := leveret.NewService("a", leveret.Handles(do), leveret.Sends(do), leveret.Answers(ask), leveret.Calls(ask))
	client := b.client(conn, service, leveret.ClientConfig{})
	handled := make(chan thing, 1)
	w := b.worker(conn, service, leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(_ context.Context, v thing) error { handled <- v; return nil })
	ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{Text: "yes"}, nil })
	r := b.start(w)
	receive(t, failed)
	require.ErrorContains(t, conn.Ready(), "the connection for publishing is connecting since ")
	require.Error(t, r.Ready())
	address, version := conn.Broker()
	_, host, _ := strings.Cut(way.url, "@")
	require.Contains(t, address, host)
	require.Empty(t, version)
	short, cancel := context.WithCancel(b.ctx)
	cancel()
	require.ErrorIs(t, conn.Await(short), leveret.ErrNotConnected)
	require.ErrorIs(t, do.Send(short, client, thing{}), leveret.ErrNotConnected)

	sent := make(chan error, 1)
	go func() { sent <- do.Send(b.ctx, client, thing{N: 7}) }()
	way.refuse(false)
	require.NoError(t, receive(t, sent))
	require.Equal(t, 7, receive(t, handled).N)
	require.NoError(t, conn.Await(b.ctx))
	receive(t, w.ready) // every queue is there
	reply, err := ask.Call(b.ctx, client, thing{})
	require.NoError(t, err)
	require.Equal(t, "yes", reply.Text)
	require.NoError(t, r.Ready())
	require.NoError(t, r.halt())
}

// TestOpenRefused: a refused login is tried again, a wrong configuration is not; and what waits ends with its
// connection.
func TestOpenRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u, err := url.Parse(b.url)
	require.NoError(t, err)
	u.User = url.UserPassword("guest", "hush")
	failed := make(chan error, 4)
	conn, err := leveret.Open(leveret.ConnConfig{URLs: []string{u.String()}, Logger: b.log, OnFailure: func(err error) {
		select {
		case failed <- err:
		default:
		}
	}})
	require.NoError(t, err)
	for range 3 {
		require.ErrorContains(t, receive(t, failed), "refused the login")
	}
	do := leveret.NewCommand[thing]("a.do")
	w := b.worker(conn, leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(context.Context, thing) error { return nil })
	halted := b.start(w)
	require.NoError(t, halted.halt())
	waiting := make(chan error, 1)
	go func() { waiting <- conn.Await(b.ctx) }()
	require.NoError(t, conn.Close(b.ctx))
	require.ErrorIs(t, receive(t, waiting), leveret.ErrClosed)

	_, err = leveret.Open(leveret.ConnConfig{URLs: []string{"http://x/"}})
	require.Equal(t, leveret.InvalidArgument, leveret.CodeOf(err))
}

// While the first attempt goes on, there is no reason yet, and none is given.
func TestNoReasonYet(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it never answers
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })
	conn, err := leveret.Open(leveret.ConnConfig{URLs: []string{"amqp://" + silent.Addr().String()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	require.Regexp(t, `^the connection for publishing is connecting since \S+\nthe connection for consuming is connecting since \S+$`, conn.Ready().Error())
}
