package hello

import (
	"github.com/leveretmq/leveret/pkg/grpcrpc"

	pb "github.com/leveretmq/leveret/examples/hello/proto/hello/v1"
)

// three transports: begin

// CountMethod is the method by which CountGreetings travels over gRPC.
var CountMethod = grpcrpc.Unary(CountGreetings, pb.GreeterService_Count_FullMethodName,
	func(q CountQuery) *pb.CountRequest { return &pb.CountRequest{Name: q.Name} },
	func(p *pb.CountRequest) CountQuery { return CountQuery{Name: p.GetName()} },
	func(r CountReply) *pb.CountResponse { return &pb.CountResponse{Greetings: int32(r.Greetings)} },
	func(p *pb.CountResponse) CountReply { return CountReply{Greetings: int(p.GetGreetings())} })

// three transports: end
