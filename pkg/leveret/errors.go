package leveret

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// What a publish or a call can end in, beside an answer from the other side. Each has a [Code] (see [CodeOf]), and each
// wraps the context's error where the context ended it.
var (
	// Not sent: nothing reached the broker.
	ErrNotConnected = rabbit.ErrNotConnected // Unavailable: no connection while the context lasted
	ErrBlocked      = rabbit.ErrBlocked      // Unavailable: the broker takes no messages (memory or disk alarm) or confirms none
	ErrTooLarge     = rabbit.ErrTooLarge     // InvalidArgument: the body is over the limit
	ErrClosed       = rabbit.ErrClosed       // Unavailable: the client or the connection was closed

	// Refused: the broker said no.
	ErrUnroutable = rabbit.ErrUnroutable // Unavailable: no queue is bound for it
	ErrNacked     = rabbit.ErrNacked     // ResourceExhausted: the queue does not take it
	ErrRefused    = rabbit.ErrRefused    // PermissionDenied: this user may not publish there

	// Unknown: bytes were written and no confirm came. The message may or may not be in its queue. An ErrUnconfirmed is
	// always an ErrOutcomeUnknown.
	ErrUnconfirmed = rabbit.ErrUnconfirmed // Unavailable

	// ErrOutcomeUnknown says, beside the error's code, that the message may have been handled, or may still be: errors.Is
	// finds it in the error of a call whose connection was lost, whose deadline passed or whose context was cancelled
	// after the request was written; of one that was redelivered and refused, or interrupted in its handler by the
	// deadline; of one whose handler got it from one of its own calls or sends; and of an unconfirmed publish.
	// [Unavailable] and [DeadlineExceeded] without it mean that the message was certainly not handled. It travels as
	// [ReasonOutcomeUnknown].
	ErrOutcomeUnknown = rabbit.ErrOutcomeUnknown

	// ErrStuck is what [Worker.Run] returns when a handler did not return after its context had ended. Its message has
	// been settled as a failed attempt; the handler still runs, so the process should exit.
	ErrStuck = errors.New("a handler is stuck")

	// ErrUndeclared: the service did not declare this use of the contract, or has no handler for it.
	ErrUndeclared = errors.New("not declared")
)

// ReasonOutcomeUnknown is the reason of an error that is an [ErrOutcomeUnknown], on every transport.
const ReasonOutcomeUnknown = "outcome_unknown"

// ReasonCrashedWorker is the reason of a dead letter that crashed its worker again and again while it was handled
// alone.
const ReasonCrashedWorker = "crashed_worker"

// An Error is an error with a code: what a handler returns to say what became of the message, and what a caller gets
// when the other side answered with an error.
type Error struct {
	Code Code
	// Reason names the error for programs, within its code: "card_declined". Optional.
	Reason string
	// Message is for people. It travels to the caller and into dead letters: put no secrets into it.
	Message string
	// Fields are the fields of the payload that are wrong. They travel to the caller. Optional.
	Fields []FieldViolation

	cause  error
	after  time.Duration // where RetryAfter asked for it
	stack  []byte        // where a handler panicked
	remote bool
}

// A FieldViolation says what is wrong with one field of a payload.
type FieldViolation struct {
	Field  string `json:"field"`  // its path, in the names of JSON: "lines[0].quantity"
	Detail string `json:"detail"` // "must be at least 1"
}

// Errorf makes an error with a code. The format takes %w as fmt.Errorf does; what it wraps stays on this side.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
	if _, several := err.(interface{ Unwrap() []error }); several {
		e.cause = err
	}
	return e
}

// NewError makes an error that a package declares once, and that callers on the other side of the broker find again
// with errors.Is:
//
//	var ErrDeclined = leveret.NewError(leveret.FailedPrecondition, "card_declined", "the card was declined")
func NewError(code Code, reason, message string) *Error {
	return &Error{Code: code, Reason: reason, Message: message}
}

// Error returns "code: message".
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// Unwrap returns what Errorf wrapped; nil for an error that came from the other side.
func (e *Error) Unwrap() error { return e.cause }

// Is matches the error's [Code], the error of package context that means the same, any *Error with the same code and
// the same non-empty reason, and, where that reason is [ReasonOutcomeUnknown], [ErrOutcomeUnknown].
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case Code:
		return e.Code == t
	case *Error:
		return t.Reason != "" && e.Code == t.Code && e.Reason == t.Reason
	default:
		// A caller learns from the other side or from its own context that it is too late, whichever is sooner.
		return e.Code == DeadlineExceeded && target == context.DeadlineExceeded || e.Code == Canceled && target == context.Canceled ||
			e.Reason == ReasonOutcomeUnknown && target == ErrOutcomeUnknown
	}
}

// IsRemote reports whether err is the other side's answer, which came over a transport, rather than one of this side's.
// An error that this side has made of such an answer, with its own code, is this side's.
func IsRemote(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.remote
}

// CodeOf returns the code of an error: its own, that of the first coded error it wraps, or the one that the sentinels
// of this package and of package context stand for. It is [Unknown] for any other error, and 0 for nil.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code.known()
	}
	if c, ok := errors.AsType[Code](err); ok {
		return c.known()
	}
	for _, known := range sentinelCodes {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return Unknown
}

// coded is an error of this side, which errors.Is finds by its code too.
type coded struct {
	error
	code Code
}

func (c coded) Unwrap() []error { return []error{c.error, c.code} }

// byCode lets errors.Is find err by its code, or by the given one if it has none; nil stays nil.
func byCode(err error, otherwise Code) error {
	if err == nil {
		return nil
	}
	code := CodeOf(err)
	if code == Unknown {
		code = otherwise
	}
	return coded{err, code}
}

// withCode is byCode of an error with a format.
func withCode(format string, args ...any) error { return byCode(fmt.Errorf(format, args...), Unknown) }

var sentinelCodes = [...]struct {
	err  error
	code Code
}{
	{ErrTooLarge, InvalidArgument},
	{rabbit.ErrInvalid, InvalidArgument},
	{rabbit.ErrConfig, InvalidArgument},
	{ErrUndeclared, FailedPrecondition},
	{ErrNacked, ResourceExhausted},
	{ErrRefused, PermissionDenied},
	{ErrUnroutable, Unavailable},
	{rabbit.ErrNotFound, NotFound},
	{ErrUnconfirmed, Unavailable},
	{ErrBlocked, Unavailable},
	{ErrNotConnected, Unavailable},
	{ErrClosed, Unavailable},
	{context.DeadlineExceeded, DeadlineExceeded},
	{context.Canceled, Canceled},
	{errHandlerTimeout, DeadlineExceeded},
	{errDeadline, DeadlineExceeded},
	{ErrStuck, Internal},
}

// RetryAfter says that the message should be tried again no sooner than d: it waits in the retry tier nearest d from
// above, and if even the longest is shorter than d, in that one as often as it takes. Workers do not handle it
// meanwhile. Where clocks differ, the one of the worker that has the message counts. All of it is one attempt. A delay
// of a year is the longest; a longer one is cut to that, which is logged. One that is not positive asks for the
// shortest tier. The caller of a request gets d with the error.
func RetryAfter(d time.Duration, err error) error {
	e := &Error{Code: CodeOf(err), Message: messageOf(err), cause: err, after: max(d, 1)}
	if inner, ok := errors.AsType[*Error](err); ok {
		e.Reason, e.Fields = inner.Reason, inner.Fields
	}
	if err == nil {
		e.Code, e.Message = Unavailable, "try again later"
	}
	return e
}

// RetryDelay returns the delay given to [RetryAfter], however deeply wrapped and on whichever side; 0 if there was none.
func RetryDelay(err error) time.Duration {
	for e, ok := errors.AsType[*Error](err); ok; e, ok = errors.AsType[*Error](e.cause) {
		if e.after > 0 {
			return e.after
		}
	}
	return 0
}

// Discard says that the message is worthless and can be dropped: it is acked and counted, and nothing else happens to
// it.
func Discard(err error) error {
	if err == nil {
		return errDiscarded
	}
	return fmt.Errorf("%w: %w", errDiscarded, err)
}

var errDiscarded = errors.New("discarded")

// messageOf returns what an error says without its code.
func messageOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := err.(*Error); ok { //nolint:errorlint // the message of a wrapping error says more
		return e.Message
	}
	return err.Error()
}
