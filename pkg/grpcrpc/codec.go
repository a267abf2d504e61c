package grpcrpc

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// codec is gRPC's own for one call, and remembers why it could not read the reply.
type codec struct {
	encoding.CodecV2

	unreadable error
}

// Name is empty, so that the content type is gRPC's default.
func (*codec) Name() string { return "" }

func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	c.unreadable = c.CodecV2.Unmarshal(data, v)
	return c.unreadable
}

// readable makes a call of which a reply that cannot be read is an error of its own: gRPC's has the code of a broken
// connection, too. Where other options have a codec, it does nothing.
func readable(
	ctx context.Context, method string, in, out any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	if slices.ContainsFunc(options, func(o grpc.CallOption) bool { _, is := o.(grpc.ContentSubtypeCallOption); return is }) {
		return invoke(ctx, method, in, out, conn, options...)
	}
	c := &codec{CodecV2: encoding.GetCodecV2(proto.Name)}
	err := invoke(ctx, method, in, out, conn, append([]grpc.CallOption{grpc.ForceCodecV2(c)}, options...)...)
	if c.unreadable != nil {
		return leveret.Errorf(leveret.Internal, "%w: the reply of %s is not a %T: %w", leveret.ErrOutcomeUnknown, method, out, c.unreadable)
	}
	return err
}
