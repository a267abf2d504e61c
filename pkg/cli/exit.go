package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/schema"
)

// An ExitCode is the exit code of the process.
type ExitCode int

// The exit codes.
const (
	ExitOK          ExitCode = 0
	ExitError       ExitCode = 1   // any other error
	ExitUsage       ExitCode = 2   // wrong flags or arguments, or a payload that does not fit its contract
	ExitPartial     ExitCode = 3   // some of it was done, some failed
	ExitTimeout     ExitCode = 4   // no reply or no confirm in time
	ExitNotFound    ExitCode = 5   // unroutable, or not found
	ExitAnswered    ExitCode = 6   // the service answered with an error
	ExitUnreachable ExitCode = 7   // the broker cannot be reached, or refuses access
	ExitUnhealthy   ExitCode = 9   // the system is not well: see status
	ExitInterrupted ExitCode = 130 // Ctrl-C or SIGTERM
)

// String returns the code's name for programs: "usage", "timeout" and so on.
func (c ExitCode) String() string {
	switch c {
	case ExitOK:
		return "ok"
	case ExitUsage:
		return "usage"
	case ExitPartial:
		return "partial"
	case ExitTimeout:
		return "timeout"
	case ExitNotFound:
		return "not_found"
	case ExitAnswered:
		return "answered_with_error"
	case ExitUnreachable:
		return "unreachable"
	case ExitUnhealthy:
		return "unhealthy"
	case ExitInterrupted:
		return "interrupted"
	default:
		return "error"
	}
}

// An Error is why a command failed, with its exit code and what to do next.
type Error struct {
	Exit ExitCode
	// Err is the cause, in plain words. It is nil if the data that the command printed says it all.
	Err error
	// Next is the next command to run, or what to do; empty if nothing helps.
	Next string
}

// Error returns the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Exit.String()
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fail makes an [Error]; format may contain %w.
func Fail(exit ExitCode, next, format string, args ...any) error {
	return &Error{Exit: exit, Err: fmt.Errorf(format, args...), Next: next}
}

// worded replaces the text of an error.
type worded struct {
	text  string
	error error
}

func (w worded) Error() string { return w.text }
func (w worded) Unwrap() error { return w.error }

// interruption words the error of a command that was interrupted for people: "interrupted", not "context canceled".
func interruption(err error) error {
	return worded{"interrupted" + strings.ReplaceAll(": "+err.Error(), ": "+context.Canceled.Error(), ""), err}
}

// usage is the error of a wrong command line.
func usage(next, format string, args ...any) error { return Fail(ExitUsage, next, format, args...) }

// exitOf returns the exit code of a command's error.
func exitOf(err error) ExitCode {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Exit
	}
	if leveret.IsRemote(err) { // whatever the code: DeadlineExceeded may be the other side's
		return ExitAnswered
	}
	for _, known := range exitCodes {
		if errors.Is(err, known.err) {
			return known.exit
		}
	}
	if _, ok := errors.AsType[*schema.Invalid](err); ok {
		return ExitUsage
	}
	return ExitError
}

// exitCodes is in order of precedence: an error may wrap several of these.
var exitCodes = [...]struct {
	err  error
	exit ExitCode
}{
	{context.Canceled, ExitInterrupted},
	{leveret.ErrUnroutable, ExitNotFound},
	{rabbit.ErrNotFound, ExitNotFound},
	{leveret.ErrRefused, ExitUnreachable},
	{leveret.ErrNotConnected, ExitUnreachable},
	{leveret.ErrTooLarge, ExitUsage},
	{rabbit.ErrConfig, ExitUsage},
	{rabbit.ErrInvalid, ExitUsage}, // such as an id that is too long
	{syscall.EISDIR, ExitUsage},    // a folder instead of a file
	{context.DeadlineExceeded, ExitTimeout},
}

// failure is an error under -o json.
type failure struct {
	Error failureDetails `json:"error"`
}

type failureDetails struct {
	Exit    ExitCode         `json:"exit"`
	Kind    string           `json:"kind"`
	Message string           `json:"message"`
	Code    string           `json:"code,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Fields  []schema.Problem `json:"fields,omitempty"`
	// RetryAfter is in milliseconds.
	RetryAfter int64  `json:"retry_after_ms,omitempty"`
	Next       string `json:"next,omitempty"`
}

func failureOf(err error) failure {
	exit := exitOf(err)
	d := failureDetails{Exit: exit, Kind: exit.String(), Message: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		d.Next = e.Next
	}
	if e, ok := errors.AsType[*schema.Invalid](err); ok {
		d.Fields = e.Problems
	}
	if code := leveret.CodeOf(err); code != leveret.Unknown {
		d.Code = code.String()
	}
	if e, ok := errors.AsType[*leveret.Error](err); ok {
		d.Code, d.Reason = e.Code.String(), e.Reason
		for _, f := range e.Fields {
			d.Fields = append(d.Fields, schema.Problem{Path: f.Field, Message: f.Detail})
		}
	}
	d.RetryAfter = leveret.RetryDelay(err).Milliseconds()
	if errors.Is(err, leveret.ErrOutcomeUnknown) {
		d.Reason = leveret.ReasonOutcomeUnknown
	}
	return failure{d}
}
