package grpcrpc_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestCodec: gRPC sends Go values in messages of its own, whatever the contract's bodies are elsewhere.
func TestCodec(t *testing.T) {
	t.Parallel()
	shout := leveret.NewRequest[string, string]("greeter.shout", leveret.Encoded(leveret.Text()))
	method := grpcrpc.Unary(shout, testv1.GreetService_Greet_FullMethodName,
		func(q string) *testv1.GreetRequest { return &testv1.GreetRequest{Name: q} },
		func(p *testv1.GreetRequest) string { return p.GetName() },
		func(a string) *testv1.GreetResponse { return &testv1.GreetResponse{Text: a} },
		func(p *testv1.GreetResponse) string { return p.GetText() })
	seen := make(chan string, 1)
	h := leveret.NewHandlers(leveret.NewService("greeter", leveret.Answers(shout)), leveret.HandlersConfig{
		Middleware: []leveret.Middleware{func(next leveret.Handler) leveret.Handler {
			return func(ctx context.Context, m *leveret.Message) error {
				body, err := m.Encode()
				if err != nil {
					return err
				}
				seen <- string(body)
				return next(ctx, m)
			}
		}},
	})
	shout.Answer(h, func(_ context.Context, text string) (string, error) { return strings.ToUpper(text), nil })
	server, err := grpcrpc.NewServer(h, grpcrpc.ServerConfig{}, method)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	caller, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{
		Service: leveret.NewService("guest", leveret.Calls(shout)), Addresses: []string{listener.Addr().String()},
	}, method)
	require.NoError(t, err)
	reply, err := shout.Call(t.Context(), caller, "hey")
	require.NoError(t, err)
	require.Equal(t, "HEY", reply)
	require.Equal(t, "hey", <-seen)
	require.NoError(t, caller.Close())
	server.GracefulStop()
	require.NoError(t, <-served)
}
