package peers

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// The limits of a server and of a client, the same for every peer: bytes of a body, and how long a connection may take
// for a header and a body, or stay idle.
const (
	maxBody     = 1 << 20
	readTimeout = 30 * time.Second
	idleTimeout = 2 * time.Minute
)

// serveHTTP serves until ctx ends. It calls ready when it listens.
func serveHTTP(ctx context.Context, s Setting, ready func(), h http.Handler) error {
	l, err := net.Listen("tcp", s.Address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout}
	stopped := make(chan error, 1)
	defer context.AfterFunc(ctx, func() { stopped <- server.Shutdown(context.WithoutCancel(ctx)) })()
	ready()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// A grpcServer is grpc-go's, or one that embeds it.
type grpcServer interface {
	Serve(l net.Listener) error
	GracefulStop()
}

// serveGRPC serves until ctx ends. It calls ready when it listens.
func serveGRPC(ctx context.Context, s Setting, ready func(), server grpcServer) error {
	l, err := net.Listen("tcp", s.Address)
	if err != nil {
		return err
	}
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		server.GracefulStop()
	})()
	ready()
	if err := server.Serve(l); err != nil {
		return err
	}
	<-stopped
	return nil
}
