package leveret

import (
	"fmt"
	"strings"
)

// A Code says what kind of error it is. The set and the meanings are those of gRPC, so that one error means the same
// over AMQP, HTTP and gRPC. A Code is itself an error, for errors.Is:
//
//	if errors.Is(err, leveret.NotFound) { … }
type Code uint8

// The codes. Those marked "tried again" make a worker retry a command or an event by its contract's retry policy; the
// others dead-letter it at once, since trying again would change nothing.
const (
	Canceled           Code = 1  // the caller gave up; tried again
	Unknown            Code = 2  // an error without a code; tried again
	InvalidArgument    Code = 3  // the message is wrong whatever the state of the system
	DeadlineExceeded   Code = 4  // it took too long; tried again
	NotFound           Code = 5  // something that was asked for does not exist
	AlreadyExists      Code = 6  // something to be made exists already
	PermissionDenied   Code = 7  // the caller may not do this
	ResourceExhausted  Code = 8  // a quota or a queue is full; tried again
	FailedPrecondition Code = 9  // the system is not in the state that this needs
	Aborted            Code = 10 // a conflict with something else; tried again
	OutOfRange         Code = 11 // past the end
	Unimplemented      Code = 12 // not supported here
	Internal           Code = 13 // something is broken, a panic for instance; tried again
	Unavailable        Code = 14 // not now; tried again
	DataLoss           Code = 15 // data is lost or corrupt
	Unauthenticated    Code = 16 // the caller is not known
)

var codeNames = [...]string{
	Canceled: "canceled", Unknown: "unknown", InvalidArgument: "invalid_argument", DeadlineExceeded: "deadline_exceeded",
	NotFound: "not_found", AlreadyExists: "already_exists", PermissionDenied: "permission_denied",
	ResourceExhausted: "resource_exhausted", FailedPrecondition: "failed_precondition", Aborted: "aborted",
	OutOfRange: "out_of_range", Unimplemented: "unimplemented", Internal: "internal", Unavailable: "unavailable",
	DataLoss: "data_loss", Unauthenticated: "unauthenticated",
}

// httpStatus maps a code as gRPC's HTTP mapping does.
var httpStatus = [...]int{
	Canceled: 499, Unknown: 500, InvalidArgument: 400, DeadlineExceeded: 504, NotFound: 404, AlreadyExists: 409,
	PermissionDenied: 403, ResourceExhausted: 429, FailedPrecondition: 400, Aborted: 409, OutOfRange: 400,
	Unimplemented: 501, Internal: 500, Unavailable: 503, DataLoss: 500, Unauthenticated: 401,
}

// triedAgain are the codes of errors that are worth another try.
var triedAgain = [len(codeNames)]bool{
	Canceled: true, Unknown: true, DeadlineExceeded: true, ResourceExhausted: true, Aborted: true, Internal: true, Unavailable: true,
}

// String returns the code as it stands on the wire: "not_found".
func (c Code) String() string {
	if c != c.known() {
		return fmt.Sprintf("code_%d", uint8(c))
	}
	return codeNames[c]
}

// Error makes a code usable as the target of errors.Is.
func (c Code) Error() string { return c.String() }

// HTTPStatus returns the HTTP status that means the same, by the mapping that gRPC gateways use.
func (c Code) HTTPStatus() int {
	return httpStatus[c.known()]
}

// known returns c, or [Unknown] for what is no code.
func (c Code) known() Code {
	if c == 0 || int(c) >= len(codeNames) {
		return Unknown
	}
	return c
}

// retryable reports whether an error of this code is worth another try, unless a contract says otherwise.
func (c Code) retryable() bool { return triedAgain[c.known()] }

// MarshalText writes the code as on the wire.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a code as it stands on the wire, in any case. What it does not know is [Unknown]: the other side
// may be newer, or foreign.
func (c *Code) UnmarshalText(text []byte) error {
	*c = Unknown
	for i, name := range codeNames {
		if name != "" && strings.EqualFold(name, string(text)) {
			*c = Code(i)
		}
	}
	return nil
}
