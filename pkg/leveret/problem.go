package leveret

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
)

// problem is an error on the wire: RFC 9457 problem details, with the code and the reason as extensions.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   Code   `json:"code"`
	Reason string `json:"reason,omitempty"`
	// Errors are the fields that are wrong.
	Errors []FieldViolation `json:"errors,omitempty"`
	// RetryAfter is in milliseconds.
	RetryAfter int64 `json:"retry_after_ms,omitempty"`
}

// maxFields is how many fields a problem names.
const maxFields = 100

// maxRetryDelay is the longest delay that is believed.
const maxRetryDelay = 24 * time.Hour

// EncodeProblem returns an error as it travels to a caller over any transport: as application/problem+json (RFC 9457),
// with its code, its reason, its message, its fields and the delay of [RetryAfter], but nothing that it wraps. An [ErrOutcomeUnknown] has the reason
// [ReasonOutcomeUnknown], whatever its own. The value of a handler's panic stays on this side: it may hold anything.
func EncodeProblem(err error) []byte {
	code := CodeOf(err).known()
	p := problem{
		Type: "about:blank", Title: code.String(), Status: code.HTTPStatus(), Code: code,
		Detail: wire.Cut(messageOf(err), wire.MaxMessage), RetryAfter: milliseconds(RetryDelay(err)),
	}
	if e, ok := errors.AsType[*Error](err); ok {
		p.Reason, p.Errors = wire.Cut(e.Reason, maxShortString), cutFields(e.Fields)
		if e.stack != nil {
			p.Detail = "the handler panicked"
		}
	}
	if errors.Is(err, ErrOutcomeUnknown) {
		p.Reason = ReasonOutcomeUnknown
	}
	body, err := json.Marshal(p)
	if err != nil { // cannot be: all of it is text and numbers
		return []byte(`{"type":"about:blank","title":"internal","status":500,"code":"internal"}`)
	}
	return body
}

// cutFields returns as much of the fields as travels.
func cutFields(all []FieldViolation) (some []FieldViolation) {
	for _, f := range all[:min(len(all), maxFields)] {
		some = append(some, FieldViolation{wire.Cut(f.Field, maxShortString), wire.Cut(f.Detail, wire.MaxMessage)})
	}
	return some
}

// milliseconds rounds a delay up: nothing is tried again too soon, and a short delay does not get lost.
func milliseconds(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}

// DecodeProblem returns the error that the other side answered with: an [*Error] for which [IsRemote] holds. A member
// that is missing or of a wrong type counts as left out, and a code that is not known as [Unknown]: the other side may
// be newer, or foreign. Texts are cut as [EncodeProblem] cuts them: to 255 bytes for a reason and a field, to 2 KiB for a
// message and a detail, to 100 fields.
func DecodeProblem(body []byte) error {
	e := &Error{Code: Unknown, remote: true}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &members); err != nil {
		e.Message = fmt.Sprintf("the other side answered with an error that cannot be read: %v", err)
		return e
	}
	text := func(member string) (s string) {
		_ = json.Unmarshal(members[member], &s)
		return s
	}
	e.Reason, e.Message = wire.Cut(text("reason"), maxShortString), wire.Cut(cmp.Or(text("detail"), text("title")), wire.MaxMessage)
	if code := text("code"); code != "" {
		_ = e.Code.UnmarshalText([]byte(code)) // what it does not know is Unknown
	}
	var ms int64
	var fields []FieldViolation
	_ = json.Unmarshal(members["errors"], &fields)
	_ = json.Unmarshal(members["retry_after_ms"], &ms)
	e.Fields = cutFields(fields)
	e.after = time.Duration(min(max(ms, 0), maxRetryDelay.Milliseconds())) * time.Millisecond
	return e
}
