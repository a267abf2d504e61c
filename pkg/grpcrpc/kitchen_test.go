package grpcrpc_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// What the tests ask.
type question struct {
	Do string `json:"do"`
	N  int64  `json:"n"`
}

func (q question) Validate() error {
	if q.N < 0 {
		return &leveret.Error{
			Code: leveret.InvalidArgument, Message: "n: must not be negative",
			Fields: []leveret.FieldViolation{{Field: "n", Detail: "must not be negative"}},
		}
	}
	return nil
}

type (
	request = leveret.Request[question, question]
	answer  = func(context.Context, question) (question, error)
)

func echo(_ context.Context, q question) (question, error) { return question{"answered", q.N + 1}, nil }

// kitchen is a request with a method that is bound to it, the service that answers it, and one that calls it.
type kitchen struct {
	ask              *request
	method           grpcrpc.Method
	answers, callers *leveret.Service
}

// limit is the time for a call: of a contract, which no test waits out.
const limit = 2 * time.Minute

func newKitchen(options ...leveret.ContractOption) *kitchen {
	k := &kitchen{ask: leveret.NewRequest[question, question]("test.ask", append([]leveret.ContractOption{leveret.Timeout(limit)}, options...)...)}
	k.answers = leveret.NewService("test", leveret.Answers(k.ask))
	k.callers = leveret.NewService("caller", leveret.Calls(k.ask))
	k.method = bindAsk(k.ask)
	return k
}

func bindAsk(r *request) grpcrpc.Method {
	return grpcrpc.Unary(r, testv1.TestService_Ask_FullMethodName, askRequest,
		func(p *testv1.AskRequest) question { return question{p.GetDo(), p.GetN()} },
		func(q question) *testv1.AskResponse { return &testv1.AskResponse{Do: q.Do, N: q.N} },
		func(p *testv1.AskResponse) question { return question{p.GetDo(), p.GetN()} })
}

func askRequest(q question) *testv1.AskRequest { return &testv1.AskRequest{Do: q.Do, N: q.N} }

// handlers returns the service's handlers.
func (k *kitchen) handlers(f answer) *leveret.Handlers {
	h := leveret.NewHandlers(k.answers, leveret.HandlersConfig{})
	k.ask.Answer(h, f)
	return h
}

// serve runs a server on a listener until the test ends, and returns it.
func (k *kitchen) serve(t *testing.T, l net.Listener, f answer, config grpcrpc.ServerConfig) *grpcrpc.Server {
	t.Helper()
	server, err := grpcrpc.NewServer(k.handlers(f), config, k.method)
	require.NoError(t, err)
	run(t, server, l)
	return server
}

// run runs a server until the test ends.
func run(tb testing.TB, server interface {
	Serve(l net.Listener) error
	Stop()
}, l net.Listener,
) {
	tb.Helper()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-ended; !errors.Is(err, net.ErrClosed) { // a test may close the listener
			require.NoError(tb, err)
		}
	})
}

// start serves on an address of its own, which it returns.
func (k *kitchen) start(t *testing.T, f answer, config grpcrpc.ServerConfig) string {
	t.Helper()
	l := listen(t)
	k.serve(t, l, f, config)
	return l.Addr().String()
}

func (k *kitchen) caller(t *testing.T, addresses ...string) *grpcrpc.Caller {
	t.Helper()
	return k.callerOf(t, grpcrpc.CallerConfig{Addresses: addresses})
}

func (k *kitchen) callerOf(t *testing.T, config grpcrpc.CallerConfig) *grpcrpc.Caller {
	t.Helper()
	config.Service = k.callers
	c, err := grpcrpc.NewCaller(config, k.method)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// call calls, and returns the message too.
func (k *kitchen) call(ctx context.Context, c leveret.Caller, q question, options ...leveret.SendOption) (*leveret.Message, question, error) {
	var sent *leveret.Message
	reply, err := k.ask.Call(ctx, callerFunc(func(ctx context.Context, m *leveret.Message) error {
		sent = m
		return c.Call(ctx, m)
	}), q, options...)
	return sent, reply, err
}

type callerFunc func(context.Context, *leveret.Message) error

func (f callerFunc) Call(ctx context.Context, m *leveret.Message) error { return f(ctx, m) }

// foreign returns a client that is nothing but generated code.
func foreign(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A listener whose connections can be cut, and which refuses the first ones.
type listener struct {
	net.Listener

	mu     sync.Mutex
	conns  []net.Conn
	refuse int // how many more
}

func listen(tb testing.TB) *listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	return &listener{Listener: l}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		refused := l.refuse > 0
		if refused {
			l.refuse--
			_ = conn.Close()
		} else {
			l.conns = append(l.conns, conn)
		}
		l.mu.Unlock()
		if !refused {
			return conn, nil
		}
	}
}

// cut closes all connections, as when the process is killed.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	l.conns = nil
}

// requireIs checks an error for what errors.Is finds.
func requireIs(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		require.ErrorIs(t, err, target)
	}
}

// requireRemote checks the other side's error.
func requireRemote(t *testing.T, err error, targets ...error) *leveret.Error {
	t.Helper()
	require.True(t, leveret.IsRemote(err), "%v", err)
	requireIs(t, err, targets...)
	if !slices.Contains(targets, leveret.ErrOutcomeUnknown) {
		require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
	}
	var e *leveret.Error
	require.ErrorAs(t, err, &e)
	return e
}

// requireLocal checks an error of this side.
func requireLocal(t *testing.T, err error, unknown bool, targets ...error) {
	t.Helper()
	require.Error(t, err)
	require.False(t, leveret.IsRemote(err), "%v", err)
	require.Equal(t, unknown, errors.Is(err, leveret.ErrOutcomeUnknown), "%v", err)
	requireIs(t, err, targets...)
}
