package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// httpServer is an HTTP server that knows how many requests it is handling.
type httpServer struct {
	http.Server

	log      *slog.Logger
	handling atomic.Int64
	stuck    time.Duration // how long handlers may take to return after their contexts have ended
	cut      context.CancelFunc
}

// listenHTTP makes the server for rt.ServeHTTP.
func (l *life) listenHTTP(ctx context.Context, handler http.Handler) (*server, error) {
	c := l.settings.http
	listener, err := listener(ctx, "http", c.Address, c.MaxConnections)
	if err != nil {
		return nil, err
	}
	encrypted := secured(l.rt.ServerTLS, c.TLS.With(l.settings.tls))
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(encrypted != nil)
	protocols.SetUnencryptedHTTP2(encrypted == nil)
	handling, cut := context.WithCancel(context.WithoutCancel(ctx))
	h := &httpServer{log: l.log, stuck: l.settings.worker.StuckAfter, cut: cut}
	h.Server = http.Server{
		Handler:           h.watched(handler),
		TLSConfig:         encrypted,
		Protocols:         &protocols,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.ReadTimeout + l.settings.handlers.HandlerTimeout + 10*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 30 * time.Second},
		BaseContext:       func(net.Listener) context.Context { return handling },
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	return &server{
		name: "http", listener: listener, drain: h.drain, patience: l.settings.worker.DrainTimeout, log: l.log,
		serve: func(listener net.Listener) error {
			if encrypted != nil {
				return h.ServeTLS(listener, "", "")
			}
			return h.Serve(listener)
		},
	}, nil
}

// watched counts the requests that are being handled, and logs panics, each of which ends only its own connection.
func (h *httpServer) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.handling.Add(1)
		defer h.handling.Add(-1)
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				p := panicError(v)
				h.log.ErrorContext(r.Context(), "an HTTP handler panicked", "method", r.Method, "path", r.URL.Path, "error", p, "stack", string(p.stack))
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// drain answers what is being handled. When ctx ends, it cuts the connections, ends the handlers' contexts, and waits
// until the handlers have returned.
func (h *httpServer) drain(ctx context.Context) error {
	defer h.cut()
	err := h.Shutdown(ctx)
	if err == nil {
		return nil
	}
	h.cut()
	_ = h.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(h.stuck); h.handling.Load() > 0; <-tick.C {
		if time.Now().After(end) {
			return fmt.Errorf("%d handlers did not return within %v after their contexts had ended", h.handling.Load(), h.stuck)
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return context.DeadlineExceeded
}
