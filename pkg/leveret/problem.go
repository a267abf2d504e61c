package leveret

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// problem is an error on the wire: RFC 9457 problem details, with the code and the reason as extensions.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   Code   `json:"code"`
	Reason string `json:"reason,omitempty"`
}

// fault is what a caller is told of an error. A panic's value stays here: it may hold anything.
func fault(err error) []byte {
	code := CodeOf(err)
	p := problem{Type: "about:blank", Title: code.String(), Status: code.HTTPStatus(), Code: code, Detail: cut(messageOf(err), maxErrorMessage)}
	if e, ok := errors.AsType[*Error](err); ok {
		p.Reason = e.Reason
	}
	if _, ok := errors.AsType[*panicked](err); ok {
		p.Detail = "the handler panicked"
	}
	body, err := json.Marshal(p)
	if err != nil { // cannot be: all of it is text and numbers
		return []byte(`{"type":"about:blank","title":"internal","status":500,"code":"internal"}`)
	}
	return body
}

// faultFrom reads the error that the other side answered with. What is not as it should be counts as left out.
func faultFrom(d *rabbit.Delivery) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(d.Body, &members); err != nil {
		return &Error{Code: Unknown, Message: fmt.Sprintf("the other side answered with an error that cannot be read: %v", err)}
	}
	text := func(member string) (s string) {
		_ = json.Unmarshal(members[member], &s)
		return s
	}
	e := &Error{Code: Unknown, Reason: text("reason"), Message: cmp.Or(text("detail"), text("title"))}
	if code := text("code"); code != "" {
		_ = e.Code.UnmarshalText([]byte(code)) // what it does not know is Unknown
	}
	return e
}
