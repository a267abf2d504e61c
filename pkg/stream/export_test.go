package stream

import (
	"context"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Take has a reader take a delivery whose offset no test can bring about: a program that stores its place in a stream on the
// broker, by another protocol.
func Take(ctx context.Context, r *Reader, d *rabbit.Delivery) (Event, bool, error) {
	return r.take(ctx, *d)
}

// Patiently asks as Look does. No test can make a broker lose sight of a stream without harm to the other tests.
func Patiently(ctx context.Context, ask func() error) error { return patiently(ctx, ask) }
