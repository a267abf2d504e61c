package httprpc

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

const (
	contentTypeJSON    = "application/json"
	contentTypeProblem = "application/problem+json"
)

// StatusOf returns the status of an error: that of its code, but 504 where the outcome is unknown.
func StatusOf(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status
	}
	if errors.Is(err, leveret.ErrOutcomeUnknown) {
		return http.StatusGatewayTimeout
	}
	return leveret.CodeOf(err).HTTPStatus()
}

// WriteError answers a request with an error, as a [Server] does: as a problem (RFC 9457), with Retry-After where trying
// again makes sense. It is for middleware around a server.
func WriteError(w http.ResponseWriter, _ *http.Request, err error) {
	status := StatusOf(err)
	body := leveret.EncodeProblem(err)
	if status != leveret.CodeOf(err).HTTPStatus() {
		members := make(map[string]json.RawMessage)
		_ = json.Unmarshal(body, &members) // it is an object
		members["status"] = json.RawMessage(strconv.Itoa(status))
		if changed, err := json.Marshal(members); err == nil {
			body = changed
		}
	}
	h := w.Header()
	switch after := leveret.RetryDelay(err); {
	case after > 0:
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	case status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	}
	write(w, status, contentTypeProblem, body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // there is nobody left to report an error to
}
