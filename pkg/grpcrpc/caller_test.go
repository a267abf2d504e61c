package grpcrpc_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// What accompanies a request arrives, whatever characters it has, and what the caller's context carries beside it.
func TestMetadataTravels(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	var got *leveret.Message
	var also []string
	address := k.start(t, func(ctx context.Context, q question) (question, error) {
		got = leveret.MessageFrom(ctx)
		also = metadata.ValueFromIncomingContext(ctx, "tenant")
		return echo(ctx, q)
	}, grpcrpc.ServerConfig{Instance: "größe/1"})
	c := k.caller(t, address)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "tenant", "blue")
	for _, id := range []string{"plain", `a "quoted" one`, "größer als 日本", " % ", "line\nbreak"} {
		m, reply, err := k.call(ctx, c, question{"x", 1}, leveret.MessageID(id), leveret.Conversation("talk "+id), leveret.Header("café", "crème"))
		require.NoError(t, err)
		require.Equal(t, question{"answered", 2}, reply)
		require.Equal(t, "test@"+address, m.AnsweredBy)
		require.Equal(t, id, got.ID)
		require.Equal(t, "talk "+id, got.ConversationID)
		require.Equal(t, "caller", got.AppID)
		require.Equal(t, "crème", got.Headers["café"])
		body, err := got.JSON()
		require.NoError(t, err)
		require.JSONEq(t, `{"do":"x","n":1}`, string(body))
		require.Same(t, k.ask, got.Contract)
		require.Equal(t, []string{"blue"}, also)
	}

	_, _, err := k.call(ctx, c, question{}, leveret.MessageID(strings.Repeat("x", 256)))
	requireLocal(t, err, false, leveret.InvalidArgument)
	_, _, err = k.call(metadata.AppendToOutgoingContext(ctx, "bad", "\x00"), c, question{})
	requireLocal(t, err, false, leveret.Internal)
}

// The deadline is the caller's, and at most the contract's timeout.
func TestDeadlineTravels(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	var deadline time.Time
	address := k.start(t, func(ctx context.Context, q question) (question, error) {
		deadline = leveret.MessageFrom(ctx).Deadline
		return echo(ctx, q)
	}, grpcrpc.ServerConfig{})

	ctx, cancel := context.WithTimeout(t.Context(), limit/2)
	defer cancel()
	before := time.Now()
	_, _, err := k.call(ctx, k.caller(t, address), question{})
	require.NoError(t, err)
	require.WithinRange(t, deadline, before, time.Now().Add(limit/2))

	plain := testv1.NewTestServiceClient(foreign(t, address))
	for _, most := range []time.Duration{time.Hour, 0} {
		ctx := t.Context()
		if most > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, most)
			defer cancel()
		}
		before = time.Now()
		_, err = plain.Ask(ctx, &testv1.AskRequest{})
		require.NoError(t, err)
		require.WithinRange(t, deadline, before.Add(limit), time.Now().Add(limit))
	}
}

// A server that is killed between the effect and the answer leaves the outcome unknown; an idempotent request is made
// again, under the same id.
func TestServerKilledBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	for _, idempotent := range []bool{false, true} {
		var options []leveret.ContractOption
		if idempotent {
			options = append(options, leveret.Idempotent())
		}
		k := newKitchen(options...)
		l := listen(t)
		var mu sync.Mutex
		var ids []string
		k.serve(t, l, func(ctx context.Context, q question) (question, error) {
			mu.Lock()
			defer mu.Unlock()
			if ids = append(ids, leveret.MessageFrom(ctx).ID); len(ids) == 1 {
				l.cut()
				<-ctx.Done() // the client has hung up
			}
			return echo(ctx, q)
		}, grpcrpc.ServerConfig{})
		m, _, err := k.call(t.Context(), k.caller(t, l.Addr().String()), question{})
		mu.Lock()
		handled := slices.Clone(ids)
		mu.Unlock()
		if idempotent {
			require.NoError(t, err)
			require.Equal(t, []string{m.ID, m.ID}, handled)
		} else {
			requireLocal(t, err, true, leveret.Unavailable)
			require.Equal(t, []string{m.ID}, handled)
		}
	}
}

// A call waits for a server that is not there yet, and ends with its context if none comes.
func TestCallWaitsForAServer(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	l := listen(t)
	l.refuse = 5
	k.serve(t, l, echo, grpcrpc.ServerConfig{})
	_, reply, err := k.call(t.Context(), k.caller(t, l.Addr().String()), question{N: 1})
	require.NoError(t, err)
	require.EqualValues(t, 2, reply.N)
	l.mu.Lock()
	require.Zero(t, l.refuse)
	l.mu.Unlock()

	gone := listen(t)
	require.NoError(t, gone.Close())
	for wait := 200 * time.Millisecond; wait < time.Minute; wait *= 4 { // a busy machine may not have tried to connect by then
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, _, err = k.call(ctx, k.caller(t, gone.Addr().String()), question{})
		cancel()
		if strings.Contains(err.Error(), "connection refused") {
			break
		}
	}
	requireLocal(t, err, false, leveret.DeadlineExceeded, context.DeadlineExceeded, leveret.ErrNotConnected)
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "broker", "there is none")
	require.NotContains(t, err.Error(), "\n", "it goes into a log")
}

// Calls go to all servers, and go on while one of them is left.
func TestCallsAreBalanced(t *testing.T) {
	t.Parallel()
	k := newKitchen(leveret.Idempotent())
	gone := listen(t)
	require.NoError(t, gone.Close())
	a, b := listen(t), listen(t)
	k.serve(t, a, echo, grpcrpc.ServerConfig{})
	doomed := k.serve(t, b, echo, grpcrpc.ServerConfig{})
	c := k.caller(t, gone.Addr().String(), a.Addr().String(), b.Addr().String())
	atA, atB := "test@"+a.Addr().String(), "test@"+b.Addr().String()
	answered := make(map[string]int)
	call := func() {
		m, _, err := k.call(t.Context(), c, question{})
		require.NoError(t, err)
		answered[m.AnsweredBy]++
	}
	for answered[atA] == 0 || answered[atB] == 0 {
		call()
	}
	clear(answered)
	for range 100 {
		call()
	}
	require.InDelta(t, 50, answered[atA], 25, "gRPC begins anew with any of them when a connection comes or goes")
	require.InDelta(t, 50, answered[atB], 25)

	var stopped atomic.Bool
	var all sync.WaitGroup
	all.Go(func() { doomed.GracefulStop(); stopped.Store(true) })
	for !stopped.Load() {
		call()
	}
	all.Wait()
	clear(answered)
	for range 10 {
		call()
	}
	require.Equal(t, map[string]int{atA: 10}, answered)
}

// The handler has done its work; that its reply cannot be sent does not undo it.
func TestReplyThatCannotBeSent(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	address := k.start(t, func(context.Context, question) (question, error) { return question{Do: "\xff"}, nil }, grpcrpc.ServerConfig{})
	_, _, err := k.call(t.Context(), k.caller(t, address), question{})
	requireRemote(t, err, leveret.Internal, leveret.ErrOutcomeUnknown)
}

// An interceptor may answer without a server.
func TestAnsweredByAnInterceptor(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	c := k.callerOf(t, grpcrpc.CallerConfig{Addresses: []string{"127.0.0.1:1"}, Options: []grpc.DialOption{grpc.WithUnaryInterceptor(
		func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
			return nil
		})}})
	m, reply, err := k.call(t.Context(), c, question{})
	require.NoError(t, err)
	require.Zero(t, reply)
	require.Empty(t, m.AnsweredBy)
}

func TestClosedCaller(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	began := make(chan struct{})
	address := k.start(t, func(ctx context.Context, q question) (question, error) {
		close(began)
		<-ctx.Done()
		return q, ctx.Err()
	}, grpcrpc.ServerConfig{})
	c := k.caller(t, address)
	ended := make(chan error)
	go func() {
		_, _, err := k.call(context.WithoutCancel(t.Context()), c, question{})
		ended <- err
	}()
	<-began
	require.NoError(t, c.Close())
	requireLocal(t, <-ended, true)
	_, _, err := k.call(t.Context(), c, question{})
	requireLocal(t, err, false, leveret.ErrClosed, leveret.Unavailable)
}

// plainServer is a server of generated code, which knows nothing of Leveret.
type plainServer struct {
	testv1.UnimplementedTestServiceServer
}

func (plainServer) Ask(ctx context.Context, q *testv1.AskRequest) (*testv1.AskResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	switch q.GetDo() {
	case "answer":
		return &testv1.AskResponse{Do: strings.Join(md.Get("idempotency-key"), ","), N: q.GetN()}, nil
	case "large":
		return &testv1.AskResponse{Do: strings.Repeat("x", 17<<20)}, nil
	case "header":
		_ = grpc.SendHeader(ctx, metadata.Pairs("a", "b"))
	}
	return nil, status.Error(codes.Code(q.GetN()), "as you like")
}

// A server that is nothing but generated code is called; its errors are the other side's, and where they allow that the
// request was handled, the outcome is unknown.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	server := grpc.NewServer()
	testv1.RegisterTestServiceServer(server, plainServer{})
	l := listen(t)
	run(t, server, l)
	k := newKitchen()
	c := k.caller(t, l.Addr().String())

	m, reply, err := k.call(t.Context(), c, question{"answer", 7}, leveret.MessageID("m1"))
	require.NoError(t, err)
	require.Equal(t, question{"m1", 7}, reply)
	require.Equal(t, "test@"+l.Addr().String(), m.AnsweredBy)
	for code := leveret.Canceled; code <= leveret.Unauthenticated; code++ {
		targets := []error{code}
		if slices.Contains([]leveret.Code{
			leveret.Canceled, leveret.DeadlineExceeded, leveret.Unavailable, leveret.Unknown, leveret.Internal, leveret.DataLoss,
		}, code) {
			targets = append(targets, leveret.ErrOutcomeUnknown)
		}
		_, _, err := k.call(t.Context(), c, question{"error", int64(code)})
		e := requireRemote(t, err, targets...)
		require.Equal(t, "as you like", e.Message)
	}
	_, _, err = k.call(t.Context(), c, question{"error", 260}) // 4 in eight bits
	requireRemote(t, err, leveret.Unknown)

	_, _, err = k.call(t.Context(), c, question{"header", int64(leveret.NotFound)})
	requireRemote(t, err, leveret.NotFound)
	_, _, err = k.call(t.Context(), c, question{"header", int64(leveret.Internal)}) // gRPC's library makes such ones too
	requireLocal(t, err, true, leveret.Unavailable)
	_, _, err = k.call(t.Context(), c, question{Do: "large"})
	requireLocal(t, err, true, leveret.ResourceExhausted)
}

// Names that gRPC looks up are taken as they are.
func TestNameIsLookedUp(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	_, port, err := net.SplitHostPort(k.start(t, echo, grpcrpc.ServerConfig{}))
	require.NoError(t, err)
	_, _, err = k.call(t.Context(), k.caller(t, "dns:///127.0.0.1:"+port), question{})
	require.NoError(t, err)
}

func TestMistakesOfACaller(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	other := newKitchen()
	for want, mistake := range map[string]struct {
		config  grpcrpc.CallerConfig
		methods []grpcrpc.Method
	}{
		"a caller needs a service":           {grpcrpc.CallerConfig{}, nil},
		"there are no methods":               {grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{"a:1"}}, nil},
		"Addresses is empty":                 {grpcrpc.CallerConfig{Service: k.callers}, []grpcrpc.Method{k.method}},
		`"a", which is not host:port`:        {grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{"b:1", "a"}}, []grpcrpc.Method{k.method}},
		"must be the only one":               {grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{"dns:///a:1", "a:1"}}, []grpcrpc.Method{k.method}},
		"bound twice":                        {grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{"a:1"}}, []grpcrpc.Method{k.method, k.method}},
		"two contracts named \"test.ask\"":   {grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{"a:1"}}, []grpcrpc.Method{other.method}},
		"a method that was not made by":      {grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{"a:1"}}, make([]grpcrpc.Method, 1)},
		"the service has no method \"Nope\"": {grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{"a:1"}}, wrongMethods(k.ask)},
	} {
		_, err := grpcrpc.NewCaller(mistake.config, mistake.methods...)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, leveret.InvalidArgument)
	}
	c := k.caller(t, "a:1")
	requireLocal(t, c.Call(t.Context(), &leveret.Message{}), false, leveret.ErrUndeclared, leveret.FailedPrecondition)
}

// rawCodec sends and receives bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	body, _ := v.(*[]byte)
	return *body, nil
}

func (rawCodec) Unmarshal(body []byte, v any) error {
	into, _ := v.(*[]byte)
	*into = body
	return nil
}

// A reply that does not fit is an error; whether it was handled is not known.
func TestRepliesThatDoNotFit(t *testing.T) {
	t.Parallel()
	k := newKitchen(leveret.Idempotent()) // it is not made again: the next reply would be no better
	for name, reply := range map[string]string{
		"no message":        "\xff\xff\xff\xff",
		"no UTF-8":          "\x0a\x01\xff",
		"an endless varint": "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"a short string":    "\x0a\x7fabc",
	} {
		l := listen(t)
		run(t, grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			var request []byte
			answer := []byte(reply)
			return errors.Join(s.RecvMsg(&request), s.SendMsg(&answer))
		})), l)
		_, _, err := k.call(t.Context(), k.caller(t, l.Addr().String()), question{"x", 1})
		require.Error(t, err, name)
		require.ErrorIs(t, err, leveret.ErrOutcomeUnknown, name)
		require.ErrorIs(t, err, leveret.Internal, name)
		require.ErrorContains(t, err, "is not a *testv1.AskResponse", name)
	}
}
