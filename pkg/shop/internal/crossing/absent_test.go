package crossing_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// An absentee is a server that does not listen yet.
type absentee struct {
	caller leveret.Caller
	failed <-chan struct{} // a try has failed
	arrive func(t *testing.T)
}

// failures gets a value for each try that fails while somebody waits for one. Over HTTP and gRPC, a try is a span.
type failures chan struct{}

func (f failures) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (f failures) Shutdown(context.Context) error                  { return nil }
func (f failures) ForceFlush(context.Context) error                { return nil }
func (f failures) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.Status().Code == codes.Error {
		f.add()
	}
}

func (f failures) add() {
	select {
	case f <- struct{}{}:
	default:
	}
}

// nowhere returns an address at which nobody listens, and which was free a moment ago.
func nowhere(t *testing.T) string {
	t.Helper()
	l := listen(t, "")
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// absentees makes one for each transport.
var absentees = map[string]func(t *testing.T, h *leveret.Handlers) absentee{
	"HTTP/1.1": func(t *testing.T, h *leveret.Handlers) absentee { t.Helper(); return absentHTTP(t, h, false) },
	"h2c":      func(t *testing.T, h *leveret.Handlers) absentee { t.Helper(); return absentHTTP(t, h, true) },
	"gRPC": func(t *testing.T, h *leveret.Handlers) absentee {
		t.Helper()
		address, failed := nowhere(t), make(failures)
		tel := telemetry{tracers: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(failed))}
		c := grpcCaller(t, tel, grpcrpc.CallerConfig{Service: guest, Addresses: []string{address}}, bound(ask))
		return absentee{c, failed, func(t *testing.T) { t.Helper(); serveGRPC(t, listen(t, address), h, telemetry{}, bound(ask)) }}
	},
	"AMQP": func(t *testing.T, h *leveret.Handlers) absentee { // whose broker does not listen yet
		t.Helper()
		broker := leverettest.Broker(t)
		work(t, connect(t, broker, telemetry{}), h)
		at, err := url.Parse(broker)
		require.NoError(t, err)
		var forwarding sync.WaitGroup
		t.Cleanup(forwarding.Wait) // until the connections have ended
		address, behind, failed := nowhere(t), at.Host, make(failures)
		at.Host = address
		conn, err := leveret.Open(leveret.ConnConfig{
			URLs: []string{at.String()}, Logger: slog.New(slog.DiscardHandler), OnFailure: func(error) { failed.add() },
		})
		require.NoError(t, err)
		closeAtEnd(t, conn.Close)
		return absentee{client(t, conn, guest), failed, func(t *testing.T) { t.Helper(); forward(t, &forwarding, listen(t, address), behind) }}
	},
}

func absentHTTP(t *testing.T, h *leveret.Handlers, http2 bool) absentee {
	t.Helper()
	address, failed := nowhere(t), make(failures)
	tel := telemetry{tracers: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(failed))}
	c := httpCaller(t, tel, httprpc.CallerConfig{Service: guest, URLs: []string{"http://" + address}, HTTP2: http2})
	return absentee{c, failed, func(t *testing.T) { t.Helper(); serveHTTP(t, listen(t, address), h, telemetry{}) }}
}

// forward hands connections on to another address, and takes them until the test ends.
func forward(t *testing.T, all *sync.WaitGroup, l net.Listener, to string) {
	t.Helper()
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			onward, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				return
			}
			all.Go(func() { pipe(from, onward) })
			all.Go(func() { pipe(onward, from) })
		}
	})
	t.Cleanup(func() { require.NoError(t, l.Close()) })
}

// A call to which nobody listens waits as long as its context lives. If nobody comes, it was certainly not handled; if
// somebody does, it is.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	for transport, absent := range absentees {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			a := absent(t, answering(blame))
			call := func(ctx context.Context) (answer, error) { return ask.Call(ctx, a.caller, question{"it"}) }

			ctx, giveUp := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := call(ctx)
				ended <- err
			}()
			for range 2 {
				receive(t, a.failed, "it does not try")
			}
			require.Empty(t, ended, "it waits while its context lives")
			giveUp()
			err := receive(t, ended, "it does not end with its context")
			require.ErrorIs(t, err, leveret.ErrNotConnected)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, leveret.Canceled)
			require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
			require.False(t, leveret.IsRemote(err))

			replies := make(chan answer, 1)
			go func() {
				reply, err := call(t.Context())
				replies <- reply
				ended <- err
			}()
			for range 2 {
				receive(t, a.failed, "it does not try")
			}
			a.arrive(t)
			require.Equal(t, answer{"answered it"}, receive(t, replies, "it does not end though somebody listens"))
			require.NoError(t, receive(t, ended, "it does not end"))
		})
	}
}
