package httprpc

import (
	"bytes"
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

// WriteProblem answers a request with an error, as a [Server] does: as problem details, with the status that [Status]
// returns, Retry-After and WWW-Authenticate. It is for middleware around a Server. The error that it returns is why
// nothing could be written.
func WriteProblem(w http.ResponseWriter, err error) error {
	status := Status(err)
	if r, ok := err.(*refusal); ok { //nolint:errorlint // the message of a wrapping error says more
		err = r.err // whose message is without its code, which the problem has anyway
	}
	body := leveret.EncodeProblem(err)
	if usual := leveret.CodeOf(err).HTTPStatus(); usual != status { // the first member that says it is the status
		body = bytes.Replace(body, []byte(`"status":`+strconv.Itoa(usual)), []byte(`"status":`+strconv.Itoa(status)), 1)
	}
	h := w.Header()
	if after := retryAfter(err, status); after != "" {
		h.Set("Retry-After", after)
	}
	if status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", "Bearer")
	}
	return write(w, status, contentTypeProblem, body)
}

// Status returns the HTTP status of an error: 504 for a leveret.ErrOutcomeUnknown, whatever its code, and else that of
// its code.
func Status(err error) int {
	if errors.Is(err, leveret.ErrOutcomeUnknown) {
		return http.StatusGatewayTimeout
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status
	}
	return leveret.CodeOf(err).HTTPStatus()
}

// retryAfter returns the seconds after which a client should try again; nothing where it need not.
func retryAfter(err error, status int) string {
	delay := leveret.RetryDelay(err)
	if delay == 0 && status == http.StatusServiceUnavailable {
		delay = time.Second
	}
	if delay == 0 {
		return ""
	}
	return strconv.FormatInt(int64((delay+time.Second-1)/time.Second), 10)
}

// A refusal is an error for which HTTP has a better status than its code's.
type refusal struct {
	status int
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status int, code leveret.Code, format string, args ...any) error {
	return &refusal{status, leveret.Errorf(code, format, args...)}
}

// write writes a whole answer. Answers belong to one client and one moment: nothing may keep them.
func write(w http.ResponseWriter, status int, contentType string, body []byte) error {
	h := w.Header()
	h["Cache-Control"] = noStore
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return nil
	}
	values := []string{contentType, strconv.Itoa(len(body))}
	h["Content-Type"], h["Content-Length"] = values[:1:1], values[1:]
	w.WriteHeader(status)
	_, err := w.Write(body)
	if errors.Is(err, http.ErrBodyNotAllowed) { // the answer to HEAD
		return nil
	}
	return err
}
