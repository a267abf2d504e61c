package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// httpServer is an HTTP server that knows its connections, and how many requests it is handling. It is drained without
// leaving a request in doubt, which http.Server.Shutdown alone does: that closes idle connections while requests may be
// on their way, and ignores requests that it reads afterwards.
type httpServer struct {
	http.Server

	log        *slog.Logger
	listener   *limited
	handling   atomic.Int64
	stuck      time.Duration // how long handlers may take to return after their contexts have ended
	cut        context.CancelFunc
	leaving    atomic.Bool // HTTP/1.1 answers say that they are the last ones on their connections
	dismissing atomic.Bool // no connection waits for a further request

	mu    sync.Mutex
	conns map[*httpConn]struct{}
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
	h := &httpServer{log: l.log, listener: listener, stuck: l.settings.worker.StuckAfter, cut: cut, conns: make(map[*httpConn]struct{})}
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
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, httpConnOf(conn))
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			if c := httpConnOf(conn); c != nil {
				c.observe(conn, state)
				if state == http.StateHijacked { // the handler's own from now on
					h.remove(c)
				}
			}
		},
		ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	return &server{
		name: "http", listener: httpListener{listener, h, encrypted != nil}, patience: l.settings.worker.DrainTimeout, log: l.log,
		leave: func() { h.leaving.Store(true) }, drain: h.drain,
		serve: func(listener net.Listener) error {
			if encrypted != nil {
				return h.ServeTLS(listener, "", "")
			}
			return h.Serve(listener)
		},
	}, nil
}

type connKey struct{}

// watched counts the requests that are being handled, and logs panics, each of which ends only its own connection.
func (h *httpServer) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.handling.Add(1)
		defer h.handling.Add(-1)
		h.answering(w, r)
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

// answering takes note of a request, and makes its answer the last one on its connection if the server is leaving:
// with Connection: close over HTTP/1.1, with GOAWAY over HTTP/2, which the server is in no hurry to say while it still
// accepts connections.
func (h *httpServer) answering(w http.ResponseWriter, r *http.Request) {
	last := h.leaving.Load() && r.ProtoMajor == 1 || h.dismissing.Load()
	if last {
		w.Header().Set("Connection", "close")
	}
	if c, _ := r.Context().Value(connKey{}).(*httpConn); c != nil {
		c.answering(r.ProtoMajor, last)
	}
}

func (h *httpServer) add(c *httpConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = struct{}{}
}

func (h *httpServer) remove(c *httpConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

// open returns the connections that are open.
func (h *httpServer) open() []*httpConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.conns))
}

// drain answers what is being handled. When ctx ends, it cuts the connections, ends the handlers' contexts, and waits
// until the handlers have returned.
func (h *httpServer) drain(ctx context.Context) error {
	defer h.cut()
	h.leaving.Store(true)
	h.listener.retire(ctx)
	h.dismiss(ctx)
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

// dismiss says goodbye on the connections that wait for a request, and returns when no further request can come that
// Shutdown would leave in doubt, or ctx ends.
func (h *httpServer) dismiss(ctx context.Context) {
	h.dismissing.Store(true)
	for _, c := range h.open() {
		c.leave()
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	unsettled := func(c *httpConn) bool { return !c.settled() }
	for slices.ContainsFunc(h.open(), unsettled) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
