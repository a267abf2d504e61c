package grpcrpc_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Health checks are answered for the server and each service, and say so before the server stops.
func TestHealth(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	l := listen(t)
	began, end := make(chan struct{}), make(chan struct{})
	server := k.serve(t, l, func(ctx context.Context, q question) (question, error) {
		close(began)
		<-end
		return echo(ctx, q)
	}, grpcrpc.ServerConfig{})
	checks := healthv1.NewHealthClient(foreign(t, l.Addr().String()))
	for _, service := range []string{"", "leveret.test.v1.TestService"} {
		reply, err := checks.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		require.Equal(t, healthv1.HealthCheckResponse_SERVING, reply.GetStatus())
	}
	_, err := checks.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "other"})
	require.Equal(t, codes.NotFound, status.Code(err))
	watch, err := checks.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	reply, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, reply.GetStatus())

	c := k.caller(t, l.Addr().String())
	called := make(chan error)
	go func() {
		_, _, err := k.call(context.WithoutCancel(t.Context()), c, question{})
		called <- err
	}()
	<-began
	stopped := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(stopped)
	}()
	_, err = watch.Recv()
	for err == nil { // NOT_SERVING, unless the stream ends first
		_, err = watch.Recv()
	}
	close(end)
	require.NoError(t, <-called, "a call that runs is answered")
	<-stopped
}

// Reflection knows the services and their files.
func TestReflection(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	stream, err := reflectionv1.NewServerReflectionClient(foreign(t, k.start(t, echo, grpcrpc.ServerConfig{}))).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	ask := func(q *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		require.NoError(t, stream.Send(q))
		reply, err := stream.Recv()
		require.NoError(t, err)
		return reply
	}
	services := ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}).GetListServicesResponse().GetService()
	require.True(t, slices.ContainsFunc(services, func(s *reflectionv1.ServiceResponse) bool { return s.GetName() == "leveret.test.v1.TestService" }))
	files := ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "leveret.test.v1.TestService"},
	}).GetFileDescriptorResponse().GetFileDescriptorProto()
	require.Contains(t, string(files[0]), "AskRequest")
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

// A client that hangs up ends the handler's context.
func TestClientHangsUp(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	began, ended := make(chan struct{}), make(chan error, 1)
	plain := testv1.NewTestServiceClient(foreign(t, k.start(t, func(ctx context.Context, q question) (question, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return q, ctx.Err()
	}, grpcrpc.ServerConfig{})))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	_, err := plain.Ask(ctx, &testv1.AskRequest{})
	require.Equal(t, codes.Canceled, status.Code(err))
	require.ErrorIs(t, <-ended, context.Canceled)
}

// What a client sends wrongly is an error of its own, reaches no handler, and ends nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	address := k.start(t, func(context.Context, question) (question, error) {
		return question{}, leveret.Errorf(leveret.DataLoss, "handled all the same")
	}, grpcrpc.ServerConfig{MaxRequest: 1000})
	conn := foreign(t, address)
	plain := testv1.NewTestServiceClient(conn)

	_, _, err := k.call(t.Context(), k.caller(t, address), question{Do: strings.Repeat("x", 1000)})
	e := requireRemote(t, err, leveret.ResourceExhausted)
	require.Contains(t, e.Message, "1000")

	for text, options := range map[string][]grpc.CallOption{
		"cannot parse":  {grpc.ForceCodecV2(raw("\xff\xff\xff"))},
		"invalid UTF-8": {grpc.ForceCodecV2(raw("\x0a\x01\xff"))},
	} {
		err := conn.Invoke(t.Context(), testv1.TestService_Ask_FullMethodName, &testv1.AskRequest{}, &testv1.AskResponse{}, options...)
		require.Equal(t, codes.Internal, status.Code(err), "as any gRPC server has it")
		require.Contains(t, status.Convert(err).Message(), text)
	}
	_, _, err = k.call(t.Context(), k.caller(t, address), question{Do: "\xff"})
	requireLocal(t, err, false, leveret.InvalidArgument)
	for name, value := range map[string]string{"idempotency-key": `"never closed`, "leveret-app-id": strings.Repeat("x", 256)} {
		_, err := plain.Ask(metadata.AppendToOutgoingContext(t.Context(), name, value), &testv1.AskRequest{})
		require.Equal(t, codes.InvalidArgument, status.Code(err))
	}
	_, err = plain.Ask(metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", "one", "idempotency-key", "another"), &testv1.AskRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "two keys, as over HTTP")
	_, err = plain.Ask(metadata.AppendToOutgoingContext(t.Context(), "leveret-headers", "no JSON", "baggage", ";;;",
		"traceparent", "x", "unknown", "y"), &testv1.AskRequest{})
	require.Equal(t, codes.DataLoss, status.Code(err), "what cannot be read counts as left out")
	_, err = plain.Watch(t.Context(), &testv1.WatchRequest{})
	require.NoError(t, err)
	err = conn.Invoke(t.Context(), testv1.GreetService_Greet_FullMethodName, &testv1.GreetRequest{}, &testv1.GreetResponse{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	_, err = plain.Ask(metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", 1<<20)), &testv1.AskRequest{})
	require.Error(t, err)
	_, err = plain.Ask(t.Context(), &testv1.AskRequest{})
	require.Equal(t, codes.DataLoss, status.Code(err), "the server lives")
}

// raw is a codec that sends these bytes, whatever the message.
type raw string

func (r raw) Marshal(any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(r)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	return encoding.GetCodecV2("proto").Unmarshal(data, v)
}
func (raw) Name() string { return "proto" }

// Interceptors see the generated messages and errors that are a status, and may refuse and replace.
func TestInterceptors(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	var seen []string
	interceptor := func(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		q := request.(*testv1.AskRequest)
		switch q.GetDo() {
		case "refuse":
			return nil, status.Error(codes.Unauthenticated, "who are you?")
		case "coded":
			return nil, leveret.NewError(leveret.PermissionDenied, "not_yours", "no")
		case "replace":
			request = &testv1.AskRequest{N: 41}
		case "another":
			request = &testv1.GreetRequest{}
		}
		reply, err := next(ctx, request)
		seen = append(seen, info.FullMethod+" "+q.GetDo()+" "+status.Code(err).String())
		return reply, err
	}
	address := k.start(t, func(ctx context.Context, q question) (question, error) {
		if q.Do == "fail" {
			return q, leveret.Errorf(leveret.NotFound, "no")
		}
		return echo(ctx, q)
	}, grpcrpc.ServerConfig{Options: []grpc.ServerOption{grpc.UnaryInterceptor(interceptor)}})
	c := k.caller(t, address)
	call := func(do string) (question, error) {
		_, reply, err := k.call(t.Context(), c, question{Do: do})
		return reply, err
	}
	reply, err := call("replace")
	require.NoError(t, err)
	require.EqualValues(t, 42, reply.N)
	for do, code := range map[string]leveret.Code{
		"refuse": leveret.Unauthenticated, "coded": leveret.PermissionDenied, "another": leveret.Internal, "fail": leveret.NotFound,
	} {
		_, err = call(do)
		requireRemote(t, err, code)
	}
	for _, line := range []string{"replace OK", "another Internal", "fail NotFound"} {
		require.Contains(t, seen, "/leveret.test.v1.TestService/Ask "+line)
	}
}

// A panic of a function that converts is an error of its call. Its value goes to the log only.
func TestConversionPanics(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	k.method = grpcrpc.Unary(k.ask, testv1.TestService_Ask_FullMethodName, askRequest,
		func(p *testv1.AskRequest) question {
			if p.GetN() == 1 {
				panic("hunter2")
			}
			return question{N: p.GetN()}
		},
		func(q question) *testv1.AskResponse { return &testv1.AskResponse{N: q.N} },
		func(p *testv1.AskResponse) question { return question{N: p.GetN()} })
	var log strings.Builder
	c := k.caller(t, k.start(t, echo, grpcrpc.ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	_, _, err := k.call(t.Context(), c, question{N: 1})
	e := requireRemote(t, err, leveret.Internal)
	require.NotContains(t, e.Error(), "hunter2")
	require.Contains(t, log.String(), "hunter2")
	_, _, err = k.call(t.Context(), c, question{N: 2})
	require.NoError(t, err)
}
