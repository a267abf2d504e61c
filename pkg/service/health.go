package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/config"
)

func (s settings) healthOff() bool { return s.health == config.Off }

// health serves /healthz, /readyz and /metrics.
type health struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// listen starts the health server, which runs until close.
func listen(ctx context.Context, address string, ready *readiness, metrics http.Handler, log *slog.Logger) (*health, error) {
	var c net.ListenConfig
	listener, err := c.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("health.address: %w; use port 0 for a free port, or off to disable", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { ready.report().say(w) })
	mux.HandleFunc("GET /readyz/{part}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("part")
		report, ok := ready.reportOf(name)
		if !ok {
			say(w, http.StatusNotFound, "there is no part "+strconv.Quote(name))
			return
		}
		report.say(w)
	})
	mux.Handle("GET /metrics", metrics)
	h := &health{
		listener: listener,
		server: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      time.Minute,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		done: make(chan struct{}),
	}
	go func() {
		defer close(h.done)
		if err := h.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.ErrorContext(ctx, "the health server has failed", "error", err)
		}
	}()
	return h, nil
}

func (r report) say(w http.ResponseWriter) {
	status := http.StatusOK
	if !r.ready {
		status = http.StatusServiceUnavailable
	}
	say(w, status, r.lines...)
}

// say writes a plain-text response.
func say(w http.ResponseWriter, status int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n")
}

// address returns the address that the server listens on, with its actual port.
func (h *health) address() string {
	if h == nil {
		return config.Off
	}
	return h.listener.Addr().String()
}

// close stops the server. It waits for requests in progress until ctx ends.
func (h *health) close(ctx context.Context) error {
	err := h.server.Shutdown(ctx)
	if err != nil {
		_ = h.server.Close()
	}
	<-h.done
	return err
}
