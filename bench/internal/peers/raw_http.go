package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// rawHTTP is net/http as a careful user would write it for the same guarantees: an id that makes a request safe to
// repeat, a deadline that travels, bodies that are bounded, errors that can be read, and a client that knows whether a
// request that failed was sent.
func rawHTTP() Peer {
	return Peer{
		Name: RawHTTP, Module: standard, Transport: HTTP,
		About: "net/http by hand over HTTP/1.1 with kept connections: an idempotency key, a deadline that travels, bounded bodies, problem " +
			"details, panics answered, no redirects; the client knows whether a request that failed was sent.",
		Caller: newRawHTTPCaller, Serve: rawServeHTTP,
	}
}

// standard is net/http's module.
const standard = "std"

const (
	headerKey     = "Idempotency-Key"
	headerTimeout = "Bench-Timeout-Ms"
	headerApp     = "Bench-App-Id"
	typeJSON      = "application/json"
	typeProblem   = "application/problem+json"
	workPath      = "/bench.work"
	maxID         = 255
)

type rawHTTPCaller struct {
	client *http.Client
	url    string
}

func newRawHTTPCaller(_ context.Context, s Setting) (Caller, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: idleTimeout / 2}
	return &rawHTTPCaller{
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url: "http://" + s.Address + workPath,
	}, nil
}

var errUnknown = errors.New("the request was sent, and its outcome is unknown")

func (c *rawHTTPCaller) Call(ctx context.Context, p *Payload) (*Payload, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	// A reader that net/http does not know keeps it from sending the request again by itself.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Type", typeJSON)
	r.Header.Set("Accept", typeJSON)
	r.Header.Set(headerKey, id.String())
	r.Header.Set(headerApp, "caller")
	r.Header.Set(headerTimeout, strconv.FormatInt(time.Until(deadline).Milliseconds(), 10))
	response, err := c.client.Do(r)
	if err != nil {
		if sent.Load() {
			err = fmt.Errorf("%w: %w", errUnknown, err)
		}
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnknown, err)
	}
	if len(answer) > maxBody {
		return nil, errors.New("the reply is too large")
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != typeJSON {
		return nil, fmt.Errorf("the server answered %s: %s", response.Status, answer)
	}
	var reply Payload
	return &reply, json.Unmarshal(answer, &reply)
}

func (c *rawHTTPCaller) Close(context.Context) error {
	c.client.CloseIdleConnections()
	return nil
}

func rawServeHTTP(ctx context.Context, s Setting, ready func(), respond Responder) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+workPath, func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				s.logger().Error("a panic", "panic", v, "stack", string(debug.Stack()))
				rawProblem(w, http.StatusInternalServerError, "the handler panicked")
			}
		}()
		reply, status, err := rawRespond(w, r, respond)
		if err != nil {
			rawProblem(w, status, err.Error())
			return
		}
		w.Header().Set("Content-Type", typeJSON)
		w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		if _, err := w.Write(reply); err != nil {
			s.logger().Warn("a reply was not sent", "error", err)
		}
	})
	return serveHTTP(ctx, s, ready, mux)
}

func rawRespond(w http.ResponseWriter, r *http.Request, respond Responder) (reply []byte, status int, err error) {
	limit := callTimeout
	if text := r.Header.Get(headerTimeout); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms <= 0 {
			return nil, http.StatusBadRequest, fmt.Errorf("%s must be a positive number of milliseconds", headerTimeout)
		}
		limit = min(limit, time.Duration(ms)*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	if id := r.Header.Get(headerKey); id == "" || len(id) > maxID {
		return nil, http.StatusBadRequest, fmt.Errorf("%s must have from 1 to %d bytes", headerKey, maxID)
	}
	if r.Header.Get("Content-Type") != typeJSON {
		return nil, http.StatusUnsupportedMediaType, errors.New("the body must be JSON")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	var p Payload
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, http.StatusBadRequest, err
	}
	answer, err := respond(ctx, &p)
	if err != nil {
		return nil, http.StatusInternalServerError, err
	}
	if ctx.Err() != nil {
		return nil, http.StatusGatewayTimeout, ctx.Err()
	}
	if reply, err = json.Marshal(answer); err != nil {
		return nil, http.StatusInternalServerError, err
	}
	return reply, http.StatusOK, nil
}

func rawProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", typeProblem)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "detail": detail}) // it fails where the client is gone
}

func (s Setting) logger() *slog.Logger {
	if s.Log == nil {
		return slog.Default()
	}
	return s.Log
}
