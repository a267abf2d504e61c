package httprpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// try makes one try of a call. It returns nil, the answer of the other side, or why there is none, as rpc.Call has it.
func (c *Caller) try(ctx context.Context, m *leveret.Message, r *outgoing, t target) error {
	h := c.hosts.next()
	if ctx.Err() != nil {
		return notSent(r, m, h, ctx.Err())
	}
	request, err := r.request(h, t)
	if err != nil {
		return leveret.Errorf(leveret.InvalidArgument, "%s %s: %w", r.spec.Name, m.ID, err)
	}
	if ctx, err = c.writeHeader(ctx, request.Header, m, r); err != nil {
		return err
	}
	w := watch{http2: c.http2}
	response, err := c.client.do(request.WithContext(httptrace.WithClientTrace(ctx, w.trace())))
	if err == nil {
		defer response.Body.Close()
		// Over HTTP/1.1 a server says so when it is about to stop. With an error it may mean the request: a body that is too
		// large, for instance.
		if response.Close && response.StatusCode < http.StatusBadRequest {
			h.avoid()
		}
		return read(m, r, response)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, whose query may say much
	}
	if w.sent(ctx, err) {
		return lost(r, m, h, err)
	}
	if ctx.Err() == nil {
		h.avoid()
	}
	return notSent(r, m, h, err)
}

// writeHeader writes the metadata of a message. The context that it returns is in the trace of the message.
func (c *Caller) writeHeader(ctx context.Context, h http.Header, m *leveret.Message, r *outgoing) (context.Context, error) {
	if err := rpc.Write(m, c.service.Name(), set(h)); err != nil {
		return ctx, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		h.Set(rpc.Timeout, rpc.FormatTimeout(time.Until(deadline)))
	}
	h["Accept"], h["User-Agent"] = jsonType, userAgent
	if !r.pattern.bodyless() {
		h["Content-Type"] = jsonType
	}
	if h["Traceparent"] == nil {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
	}
	return rpc.InItsTrace(ctx, m), nil
}

// read reads the answer of the other side.
func read(m *leveret.Message, r *outgoing, response *http.Response) error {
	if by, err := rpc.DecodeText(response.Header.Get(rpc.AnsweredBy)); err == nil {
		m.AnsweredBy = by
	}
	success := response.StatusCode >= 200 && response.StatusCode <= 299
	limit := maxProblem
	if success {
		limit = maxBody
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	switch a := (answer{r.spec, r.codec, response, body}); {
	case success && err != nil:
		return noAnswer(leveret.ErrOutcomeUnknown, "outcome unknown", "%s %s: the reply was cut off: %w", r.spec.Name, m.ID, err)
	case success && len(body) > limit:
		return leveret.Errorf(leveret.ResourceExhausted, "%w: %s %s: the reply has more than %d bytes",
			leveret.ErrOutcomeUnknown, r.spec.Name, m.ID, limit)
	case success:
		return a.reply(m)
	case len(body) > limit, err != nil:
		a.body = nil
		return a.foreign()
	default:
		return a.problem()
	}
}

// notSent is the error of a request that was certainly not written.
func notSent(r *outgoing, m *leveret.Message, h *host, err error) error {
	return noAnswer(leveret.ErrNotConnected, "not connected", "%s %s: %s: not sent: %w", r.spec.Name, m.ID, h.url.Host, err)
}

// lost is the error of a request that was written, and not answered.
func lost(r *outgoing, m *leveret.Message, h *host, err error) error {
	return noAnswer(leveret.ErrOutcomeUnknown, "outcome unknown", "%s %s: %s: no answer: %w", r.spec.Name, m.ID, h.url.Host, err)
}

// noAnswer makes the error of a try without an answer: one of leveret's kinds, with the code Unavailable.
func noAnswer(kind error, what, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return leveret.Errorf(leveret.Unavailable, "%w", &rpc.KindError{Kind: kind, Text: what + ": " + err.Error(), Cause: err})
}

// A watch observes whether anything of a request was written, also where net/http sends it again by itself.
type watch struct {
	// http2 is set where it is certain that the request travels over HTTP/2. There net/http sends it again only if the
	// other side has said that it was not handled, so that what came before does not count.
	http2 bool

	mu      sync.Mutex
	got     bool // a connection
	reused  bool
	conn    *countingConn // nil where it is not known what is written, or shared with other requests
	start   int64
	headers bool // were written, at least into a buffer
	before  bool // an earlier connection was written to
}

func (w *watch) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.http2 {
				w.got, w.headers = false, false
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.before = w.before || w.wrote()
			w.got, w.reused, w.headers = true, info.Reused, false
			if w.conn = counting(info.Conn); w.conn != nil {
				w.start = w.conn.written.Load()
			}
		},
		WroteHeaders: func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.headers = true
		},
	}
}

// wrote reports whether the header of the request was written to the last connection. Only HTTP/1.1 has a connection
// for one request at a time, on which what is written can be counted: net/http waits for the writer before it returns
// an error.
func (w *watch) wrote() bool {
	return w.headers && (w.conn == nil || w.conn.written.Load() > w.start)
}

// sent reports whether the request may have reached the other side, after net/http has returned an error.
func (w *watch) sent(ctx context.Context, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.before || w.wrote() {
		return w.before || w.reused || !refusedCertificate(err)
	}
	// Over HTTP/2, and with a foreign transport, a request whose context has ended may be written yet.
	return w.got && w.conn == nil && ctx.Err() != nil
}

// refusedCertificate reports whether a TLS server has refused the client's certificate. It says so after the client's
// part of the handshake, when the client may have written already. Other alerts may come after the request was handled.
func refusedCertificate(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && strings.Contains(alert.Error(), "certificate") // crypto/tls exports no more
}
