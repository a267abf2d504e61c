package httprpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// An answer is what came back, from the other side or from a gateway between.
type answer struct {
	spec     leveret.Spec
	codec    *codec
	response *http.Response
	body     []byte
}

// reply sets the reply in the message.
func (a answer) reply(m *leveret.Message) error {
	if len(bytes.TrimSpace(a.body)) == 0 {
		return a.codec.setReply(m, []byte("{}")) // 204, for instance
	}
	if !isJSON(a.response.Header.Get("Content-Type")) {
		return leveret.Errorf(leveret.Internal, "%w", &rpc.KindError{
			Kind: leveret.ErrOutcomeUnknown,
			Text: fmt.Sprintf("outcome unknown: %s: the reply is not JSON; its Content-Type is %q", a.spec.Name, cut(a.response.Header.Get("Content-Type"), maxAttribute)),
		})
	}
	return a.codec.setReply(m, a.body)
}

// problem returns the error of the other side; of one that has no code, with that of the status.
func (a answer) problem() error {
	kind, _, err := mime.ParseMediaType(a.response.Header.Get("Content-Type"))
	var members map[string]json.RawMessage
	if err != nil || kind != contentTypeProblem || json.Unmarshal(bytes.TrimPrefix(a.body, []byte("\ufeff")), &members) != nil {
		return a.foreign()
	}
	if members["code"] == nil && doubtful(a.response.StatusCode) { // gateways have problems, too
		return a.foreign()
	}
	err = leveret.DecodeProblem(a.body)
	if e, ok := errors.AsType[*leveret.Error](err); ok && members["code"] == nil {
		e.Code = codeOf(a.response.StatusCode)
	}
	return err
}

// foreign returns the error of an answer that is not the other side's: a gateway's, or a stranger's.
func (a answer) foreign() error {
	status := a.response.StatusCode
	text := fmt.Sprintf("%s: an answer with the status %d that is no problem: not from the other side, or not from its API", a.spec.Name, status)
	err := leveret.Errorf(codeOf(status), "%s", text)
	if doubtful(status) {
		err = leveret.Errorf(codeOf(status), "%w", &rpc.KindError{Kind: leveret.ErrOutcomeUnknown, Text: "outcome unknown: " + text})
	}
	if after, _ := strconv.Atoi(a.response.Header.Get("Retry-After")); after > 0 {
		err = leveret.RetryAfter(time.Duration(min(after, 24*60*60))*time.Second, err)
	}
	return err
}

// doubtful reports whether a request may have been handled that was answered with this status, but not by Leveret. A
// gateway may have passed it on before it lost the other side: some answer even that with 503, or with a status of their
// own.
func doubtful(status int) bool { return status >= 500 && status != http.StatusNotImplemented }

// codeOf returns the code for the status of an answer without one, by gRPC's mapping, but for those that mean more.
func codeOf(status int) leveret.Code {
	switch status {
	case http.StatusBadRequest:
		return leveret.Internal // what this side sends is right for the other one
	case http.StatusUnauthorized:
		return leveret.Unauthenticated
	case http.StatusForbidden:
		return leveret.PermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return leveret.Unimplemented
	case http.StatusRequestEntityTooLarge:
		return leveret.InvalidArgument
	case http.StatusTooManyRequests:
		return leveret.ResourceExhausted
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return leveret.Unavailable
	default:
		return leveret.Unknown
	}
}
