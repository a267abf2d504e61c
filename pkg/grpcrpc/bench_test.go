package grpcrpc_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
)

type bareServer struct {
	testv1.UnimplementedTestServiceServer
}

func (bareServer) Ask(_ context.Context, q *testv1.AskRequest) (*testv1.AskResponse, error) {
	return &testv1.AskResponse{N: q.GetN() + 1}, nil
}

// BenchmarkCall compares a call with one of the generated code alone that has a deadline and an id, too. The two run side by side on one machine.
func BenchmarkCall(b *testing.B) {
	k := newKitchen()
	l, bare := listen(b), listen(b)
	server, err := grpcrpc.NewServer(k.handlers(echo), grpcrpc.ServerConfig{}, k.method)
	require.NoError(b, err)
	run(b, server, l)
	plain := grpc.NewServer()
	testv1.RegisterTestServiceServer(plain, bareServer{})
	run(b, plain, bare)

	b.Run("bare", func(b *testing.B) {
		conn, err := grpc.NewClient(bare.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(b, err)
		b.Cleanup(func() { _ = conn.Close() })
		client := testv1.NewTestServiceClient(conn)
		parallel(b, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "idempotency-key", uuid.NewString()), 30*time.Second)
			defer cancel()
			_, err := client.Ask(ctx, &testv1.AskRequest{Do: "bench", N: 1})
			return err
		})
	})
	b.Run("leveret", func(b *testing.B) {
		c, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{Service: k.callers, Addresses: []string{l.Addr().String()}}, k.method)
		require.NoError(b, err)
		b.Cleanup(func() { _ = c.Close() })
		parallel(b, func(ctx context.Context) error {
			_, err := k.ask.Call(ctx, c, question{"bench", 1})
			return err
		})
	})
}

func parallel(b *testing.B, call func(context.Context) error) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(8)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(ctx); err != nil {
				b.Error(err)
			}
		}
	})
}
