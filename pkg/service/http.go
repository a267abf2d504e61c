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

// httpServer is an HTTP server that knows how many connections it has, and how many requests it is handling.
type httpServer struct {
	http.Server

	listener net.Listener
	log      *slog.Logger
	open     atomic.Int64
	handling atomic.Int64
	leaving  atomic.Bool   // answers over HTTP/1.1 are the last ones on their connections
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
	h := &httpServer{listener: listener, log: l.log, stuck: l.settings.worker.StuckAfter, cut: cut}
	h.Server = http.Server{
		Handler:           h.watched(handler),
		TLSConfig:         encrypted,
		Protocols:         &protocols,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.ReadTimeout + l.settings.handlers.HandlerTimeout + 10*time.Second,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 30 * time.Second},
		BaseContext:       func(net.Listener) context.Context { return handling },
		ConnState:         func(_ net.Conn, state http.ConnState) { h.observe(state) },
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	return &server{
		name: "http", listener: listener, patience: l.settings.worker.DrainTimeout, log: l.log,
		leave: func() { h.leaving.Store(true) }, drain: h.drain,
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
		if h.leaving.Load() && r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close")
		}
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

// observe counts connections.
func (h *httpServer) observe(state http.ConnState) {
	switch state {
	case http.StateNew:
		h.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		h.open.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// farewell is how long clients are served on, so that each learns from an answer that its connection ends: HTTP/1.1 has
// no other way to say so. Twice as long is less than the time for which package httprpc then leaves a server alone.
const farewell = 300 * time.Millisecond

// sayFarewell serves on for a while with the listener, and for a while without. http.Server.Shutdown alone would leave
// requests in doubt: those for which a client has just connected, and all that are read after it has begun, which it
// drops. What it finds now are connections over which no request has come.
func (h *httpServer) sayFarewell(ctx context.Context) {
	if h.open.Load() == 0 {
		return
	}
	wait := func() {
		timer := time.NewTimer(farewell)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	wait()
	_ = h.listener.Close() // Shutdown does so otherwise
	wait()
}

// drain lets clients leave, and answers what is being handled. When ctx ends, it cuts the connections, ends the handlers'
// contexts, and waits until the handlers have returned.
func (h *httpServer) drain(ctx context.Context) error {
	defer h.cut()
	h.leaving.Store(true)
	h.sayFarewell(ctx)
	err := h.Shutdown(ctx)
	if err == nil || errors.Is(err, net.ErrClosed) { // the listener is
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
