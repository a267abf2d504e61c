package peers

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	benchv1 "github.com/leveretmq/leveret/bench/internal/proto/leveret/bench/v1"
)

// rawGRPC is grpc-go with its generated code, as a careful user would write it for the same guarantees.
func rawGRPC() Peer {
	return Peer{
		Name: RawGRPC, Module: grpcModule, Transport: GRPC,
		About: "grpc-go and its generated code: an idempotency key, a deadline, bounded messages, keepalive, panics answered; the client knows " +
			"whether a request that failed was sent.",
		Caller: newRawGRPCCaller, Serve: rawServeGRPC,
	}
}

const (
	grpcModule = "google.golang.org/grpc"
	mdKey      = "idempotency-key"
	mdApp      = "bench-app-id"

	keepaliveTime    = 20 * time.Second
	keepaliveTimeout = 10 * time.Second
)

type rawGRPCCaller struct {
	conn   *grpc.ClientConn
	client benchv1.BenchServiceClient
}

func newRawGRPCCaller(_ context.Context, s Setting) (Caller, error) {
	conn, err := grpc.NewClient(s.Address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBody)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}))
	if err != nil {
		return nil, err
	}
	return &rawGRPCCaller{conn, benchv1.NewBenchServiceClient(conn)}, nil
}

func (c *rawGRPCCaller) Call(ctx context.Context, p *Payload) (*Payload, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, mdKey, id.String(), mdApp, "caller")
	var server peer.Peer
	reply, err := c.client.Work(ctx, &benchv1.WorkRequest{Id: p.ID, At: p.At, Fill: p.Fill}, grpc.Peer(&server))
	if err != nil {
		switch code := status.Code(err); {
		case server.Addr == nil:
		case code == codes.Unavailable, code == codes.Internal, code == codes.Unknown, ctx.Err() != nil:
			err = fmt.Errorf("%w: %w", errUnknown, err)
		}
		return nil, err
	}
	return &Payload{ID: reply.GetId(), At: reply.GetAt(), Fill: reply.GetFill()}, nil
}

func (c *rawGRPCCaller) Close(context.Context) error { return c.conn.Close() }

type rawBenchService struct {
	benchv1.UnimplementedBenchServiceServer
	respond Responder
}

func (b rawBenchService) Work(ctx context.Context, q *benchv1.WorkRequest) (*benchv1.WorkResponse, error) {
	if ids := metadata.ValueFromIncomingContext(ctx, mdKey); len(ids) != 1 || ids[0] == "" || len(ids[0]) > maxID {
		return nil, status.Errorf(codes.InvalidArgument, "%s must have from 1 to %d bytes", mdKey, maxID)
	}
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > callTimeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	reply, err := b.respond(ctx, &Payload{ID: q.GetId(), At: q.GetAt(), Fill: q.GetFill()})
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &benchv1.WorkResponse{Id: reply.ID, At: reply.At, Fill: reply.Fill}, nil
}

func rawServeGRPC(ctx context.Context, s Setting, ready func(), respond Responder) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxBody), grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (reply any, err error) {
			defer func() {
				if v := recover(); v != nil {
					s.logger().Error("a panic", "panic", v, "stack", string(debug.Stack()))
					reply, err = nil, status.Error(codes.Internal, "the handler panicked")
				}
			}()
			return next(ctx, q)
		}))
	benchv1.RegisterBenchServiceServer(server, rawBenchService{respond: respond})
	return serveGRPC(ctx, s, ready, server)
}
