package peers

import (
	"context"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"

	benchv1 "github.com/leveretmq/leveret/bench/internal/proto/leveret/bench/v1"
)

// leveretHTTP is the same contract and the same handler as over RabbitMQ, through package httprpc with its defaults.
func leveretHTTP() Peer {
	return Peer{
		Name: LeveretHTTP, Module: leveretModule, Transport: HTTP,
		About:  "Package httprpc with its defaults.",
		Caller: leveretHTTPCaller,
		Serve: func(ctx context.Context, s Setting, ready func(), r Responder) error {
			server, err := httprpc.NewServer(leveretAnswers(leveretRequest(s), r), httprpc.ServerConfig{Logger: s.Log})
			if err != nil {
				return err
			}
			return serveHTTP(ctx, s, ready, server)
		},
	}
}

// leveretGRPC is the same through package grpcrpc.
func leveretGRPC() Peer {
	return Peer{
		Name: LeveretGRPC, Module: leveretModule, Transport: GRPC,
		About:  "Package grpcrpc with its defaults. Beside what raw-grpc does, it keeps the goroutines of the server (NumStreamWorkers).",
		Caller: leveretGRPCCaller,
		Serve: func(ctx context.Context, s Setting, ready func(), r Responder) error {
			request := leveretRequest(s)
			server, err := grpcrpc.NewServer(leveretAnswers(request, r), grpcrpc.ServerConfig{Logger: s.Log}, benchMethod(request))
			if err != nil {
				return err
			}
			return serveGRPC(ctx, s, ready, server)
		},
	}
}

// leveretAnswers is the handlers of a service that answers the request.
func leveretAnswers(request *leveret.Request[Payload, Payload], r Responder) *leveret.Handlers {
	h := leveret.NewHandlers(leveret.NewService("bench", leveret.Answers(request)), leveret.HandlersConfig{})
	request.Answer(h, func(ctx context.Context, p Payload) (Payload, error) {
		reply, err := r(ctx, &p)
		if err != nil {
			return Payload{}, err
		}
		return *reply, nil
	})
	return h
}

func benchMethod(request *leveret.Request[Payload, Payload]) grpcrpc.Method {
	return grpcrpc.Unary(request, benchv1.BenchService_Work_FullMethodName,
		func(p Payload) *benchv1.WorkRequest { return &benchv1.WorkRequest{Id: p.ID, At: p.At, Fill: p.Fill} },
		func(q *benchv1.WorkRequest) Payload { return Payload{ID: q.GetId(), At: q.GetAt(), Fill: q.GetFill()} },
		func(p Payload) *benchv1.WorkResponse { return &benchv1.WorkResponse{Id: p.ID, At: p.At, Fill: p.Fill} },
		func(r *benchv1.WorkResponse) Payload { return Payload{ID: r.GetId(), At: r.GetAt(), Fill: r.GetFill()} },
	)
}

// leveretRPC calls through a caller that connects by itself.
type leveretRPC struct {
	caller interface {
		leveret.Caller
		Close() error
	}
	request *leveret.Request[Payload, Payload]
}

func leveretHTTPCaller(_ context.Context, s Setting) (Caller, error) {
	request := leveretRequest(s)
	c, err := httprpc.NewCaller(httprpc.CallerConfig{
		Service: leveret.NewService("caller", leveret.Calls(request)), URLs: []string{"http://" + s.Address},
	})
	return leveretRPC{c, request}, err
}

func leveretGRPCCaller(_ context.Context, s Setting) (Caller, error) {
	request := leveretRequest(s)
	c, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{
		Service: leveret.NewService("caller", leveret.Calls(request)), Addresses: []string{s.Address},
	}, benchMethod(request))
	return leveretRPC{c, request}, err
}

func (l leveretRPC) Call(ctx context.Context, p *Payload) (*Payload, error) {
	reply, err := l.request.Call(ctx, l.caller, *p)
	return &reply, err
}

func (l leveretRPC) Close(context.Context) error { return l.caller.Close() }
