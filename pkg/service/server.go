package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/config"
)

// server is a part of the program that brings work in over a listener of its own.
type server struct {
	name     string // "http" or "grpc"
	listener net.Listener
	serve    func(net.Listener) error
	leave    func()                      // prepares for drain while it goes on serving; may be nil
	drain    func(context.Context) error // finishes what runs; when the context ends, cuts it off
	patience time.Duration               // how long drain may take
	log      *slog.Logger
	serving  atomic.Bool
}

// listener listens on a server's address.
func listener(ctx context.Context, name, address string, connections int) (net.Listener, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, exit(exitUsage, "%s.address: %w; use port 0 for a free port, or off to disable", name, err)
	}
	return limit(l, connections), nil
}

// run serves until ctx ends, or serving fails, and then drains.
func (s *server) run(ctx context.Context) error {
	s.serving.Store(true)
	var failure error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failure = function{run: func(context.Context) error { return s.serve(s.listener) }}.call(ctx)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	asked := ctx.Err() != nil
	s.serving.Store(asked) // while it drains, /readyz says so for the whole program
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.patience)
	defer cancel()
	err := s.drain(draining)
	<-ended
	if !asked {
		return failure
	}
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.WarnContext(ctx, "not drained in time; what was running was cut off", "server", s.name, "after", s.patience.String())
		return nil
	}
	return err
}

// ready is the server's part in /readyz.
func (s *server) ready() error {
	if !s.serving.Load() {
		return errors.New("not serving")
	}
	return nil
}

// A GRPCServer is what [Runtime.ServeGRPC] needs of a *grpc.Server.
type GRPCServer interface {
	Serve(listener net.Listener) error
	GracefulStop()
	Stop()
}

// listenGRPC makes the server for rt.ServeGRPC.
func (l *life) listenGRPC(ctx context.Context, grpc GRPCServer) (*server, error) {
	c := l.settings.grpc
	listener, err := listener(ctx, "grpc", c.Address, c.MaxConnections)
	if err != nil {
		return nil, err
	}
	if encrypted := secured(l.rt.ServerTLS, c.TLS.With(l.settings.tls)); encrypted != nil {
		encrypted.NextProtos = []string{"h2"} // gRPC's clients insist on it
		listener = tls.NewListener(listener, encrypted)
	}
	return &server{
		name: "grpc", listener: listener, serve: grpc.Serve, patience: l.settings.worker.DrainTimeout, log: l.log,
		drain: func(ctx context.Context) error {
			done := make(chan struct{})
			go func() { defer close(done); grpc.GracefulStop() }()
			select {
			case <-done:
				return nil
			case <-ctx.Done():
				grpc.Stop()
				<-done
				return ctx.Err()
			}
		},
	}, nil
}

// listen makes the servers for what Setup has registered.
func (l *life) listen(ctx context.Context) error {
	for _, one := range []struct {
		name, address string
		registered    bool
		listen        func() (*server, error)
	}{
		{"http", l.settings.http.Address, l.rt.http != nil, func() (*server, error) { return l.listenHTTP(ctx, l.rt.http) }},
		{"grpc", l.settings.grpc.Address, l.rt.grpc != nil, func() (*server, error) { return l.listenGRPC(ctx, l.rt.grpc) }},
	} {
		switch {
		case one.address == config.Off:
			continue
		case !one.registered:
			l.log.WarnContext(ctx, one.name+".address is set, but the service serves nothing there", "address", one.address)
			continue
		}
		s, err := one.listen()
		if err != nil {
			return err
		}
		l.servers = append(l.servers, s)
		l.opens(one.name, func(context.Context) error { // if it never came to serving; else it is closed
			if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		l.log.InfoContext(ctx, one.name, "address", s.listener.Addr().String())
	}
	return nil
}

// served returns the address of a server, with its actual port, or off.
func (l *life) served(name string) string {
	for _, s := range l.servers {
		if s.name == name {
			return s.listener.Addr().String()
		}
	}
	return config.Off
}

// nothingToDo is the error of a program that serves nothing.
func (l *life) nothingToDo() error {
	for name, registered := range map[string]bool{"http": l.rt.http != nil, "grpc": l.rt.grpc != nil} {
		if registered {
			return exit(exitUsage, "the service %q does nothing else than serve over %s, and %s.address is off", l.program.Service.Name(), name, name)
		}
	}
	return fmt.Errorf("the service %q serves nothing, and Setup registered nothing with Go, Serve, ServeHTTP or ServeGRPC", l.program.Service.Name())
}
