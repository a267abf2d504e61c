package grpcrpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Method is a method of a gRPC service that is bound to a request by [Unary]. [NewServer] and [NewCaller] take it.
type Method struct {
	contract leveret.Contract
	fullName string // "/package.Service/Method"
	service  protoreflect.ServiceDescriptor
	serve    func(*endpoint) methodHandler
	call     func(ctx context.Context, conn grpc.ClientConnInterface, m *leveret.Message, options ...grpc.CallOption) error
	wrong    error
}

// Contract returns the request that the method is bound to; nil for the zero Method.
func (m Method) Contract() leveret.Contract { return m.contract }

// methodHandler is the Handler of a [grpc.MethodDesc].
type (
	methodHandler = func(srv any, ctx context.Context, decode func(any) error, interceptor interceptor) (any, error)
	interceptor   = grpc.UnaryServerInterceptor
)

// message is a pointer to a generated message.
type message[T any] interface {
	*T
	proto.Message
}

// Unary binds a method that does not stream to a request. The method's full name is one of the constants of the
// generated code: PaymentService_AuthorizePayment_FullMethodName. The functions convert what is asked and what is
// answered. They must be safe for concurrent use, and must take what the other side may leave out: the getters of
// generated messages do. They cannot fail: a value that means nothing is for the request's Validate to refuse.
//
// Unary never fails: mistakes are reported by [NewServer] and [NewCaller].
func Unary[Q, R, PQ, PR any, MQ message[PQ], MR message[PR]](r *leveret.Request[Q, R], fullMethod string,
	toRequest func(Q) *PQ, fromRequest func(*PQ) Q, toReply func(R) *PR, fromReply func(*PR) R,
) Method {
	b := Method{fullName: fullMethod}
	if r == nil {
		b.wrong = fmt.Errorf("%s is bound to a nil request", fullMethod)
		return b
	}
	b.contract = r
	b.service, b.wrong = describe(fullMethod, MQ(new(PQ)), MR(new(PR)))
	if toRequest == nil || fromRequest == nil || toReply == nil || fromReply == nil {
		b.wrong = errors.Join(b.wrong, errors.New("one of the four functions is nil"))
	}
	if b.wrong != nil {
		b.wrong = fmt.Errorf("the request %q, bound to %q: %w", r.Spec().Name, fullMethod, b.wrong)
		return b
	}
	b.call = func(ctx context.Context, conn grpc.ClientConnInterface, m *leveret.Message, o ...grpc.CallOption) error {
		request, err := r.Payload(m)
		if err != nil {
			return err
		}
		in, out := toRequest(*request), new(PR)
		if err := conn.Invoke(ctx, fullMethod, in, out, o...); err != nil {
			if _, invalid := proto.Marshal(MQ(in)); invalid != nil { // which gRPC finds only after it has begun the call
				return leveret.Errorf(leveret.InvalidArgument, "the request cannot be encoded: %w", invalid)
			}
			return err
		}
		r.SetReply(m, fromReply(out))
		return nil
	}
	b.serve = func(e *endpoint) methodHandler {
		return e.handler(fullMethod, func() any { return new(PQ) }, func(ctx context.Context, in any) (any, error) {
			request, ok := in.(*PQ)
			if !ok {
				return nil, leveret.Errorf(leveret.Internal, "an interceptor has made a %T of the request to %s", in, fullMethod)
			}
			ctx, m, err := e.message(ctx, r)
			if err != nil {
				return nil, err
			}
			reply, err := r.Process(ctx, e.handlers, m, fromRequest(request))
			if err != nil {
				e.report(ctx, m, err)
				return nil, err
			}
			return toReply(reply), nil
		})
	}
	return b
}

// describe finds the service of a method in what the program links, and returns what is wrong with the method.
func describe(fullMethod string, request, reply proto.Message) (protoreflect.ServiceDescriptor, error) {
	service, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !ok || !strings.HasPrefix(fullMethod, "/") {
		return nil, errors.New("the name of a method looks like /package.Service/Method")
	}
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, fmt.Errorf("the program links no generated code of the service %q", service)
	}
	s, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%q is not a service", service)
	}
	m := s.Methods().ByName(protoreflect.Name(method))
	if m == nil {
		return nil, fmt.Errorf("the service has no method %q", method)
	}
	if m.IsStreamingClient() || m.IsStreamingServer() {
		return nil, errors.New("the method streams")
	}
	if in, out := nameOf(request), nameOf(reply); m.Input().FullName() != in || m.Output().FullName() != out {
		return nil, fmt.Errorf("the method takes %s and returns %s, not %s and %s",
			m.Input().FullName(), m.Output().FullName(), in, out)
	}
	return s, nil
}

func nameOf(m proto.Message) protoreflect.FullName { return m.ProtoReflect().Descriptor().FullName() }
