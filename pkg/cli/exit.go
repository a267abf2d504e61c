package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/leveretmq/leveret/pkg/cli/schema"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// An ExitCode is what the process ends with.
type ExitCode int

// The exit codes.
const (
	ExitOK          ExitCode = 0
	ExitError       ExitCode = 1   // anything that has no code of its own
	ExitUsage       ExitCode = 2   // wrong flags, wrong arguments, a payload that does not fit its contract
	ExitPartial     ExitCode = 3   // some of it is done, some failed
	ExitTimeout     ExitCode = 4   // no answer, or no confirm, in time
	ExitNotFound    ExitCode = 5   // unroutable, or not found
	ExitAnswered    ExitCode = 6   // the other side answered with an error
	ExitUnreachable ExitCode = 7   // the broker cannot be reached, or refuses access
	ExitInterrupted ExitCode = 130 // Ctrl-C, or SIGTERM
)

// String names the code for programs: "usage", "timeout" and so on.
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
	case ExitInterrupted:
		return "interrupted"
	default:
		return "error"
	}
}

// An Error ends a command: with an exit code, and with what to do next.
type Error struct {
	Exit ExitCode
	// Err is the cause, in plain words.
	Err error
	// Next is the next command to run, or what to do; empty where nothing helps.
	Next string
}

// Error returns the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fail makes an [Error]. The format takes %w.
func Fail(exit ExitCode, next, format string, args ...any) error {
	return &Error{Exit: exit, Err: fmt.Errorf(format, args...), Next: next}
}

// worded is an error in other words than its own.
type worded struct {
	text  string
	error error
}

func (w worded) Error() string { return w.text }
func (w worded) Unwrap() error { return w.error }

// interruption is what a command that was interrupted ended with, in a person's words: Go's own for it, "context canceled",
// are none.
func interruption(err error) error {
	return worded{"interrupted" + strings.ReplaceAll(": "+err.Error(), ": "+context.Canceled.Error(), ""), err}
}

// usage makes the error of a wrong command line.
func usage(next, format string, args ...any) error { return Fail(ExitUsage, next, format, args...) }

// exitOf returns the exit code of an error that a command ended with.
func exitOf(err error) ExitCode {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Exit
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

// exitCodes is in the order of precedence: an error may wrap several of these.
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
	{rabbit.ErrInvalid, ExitUsage}, // an id that is too long, for instance
	{syscall.EISDIR, ExitUsage},    // a folder where a file was to be named
	{context.DeadlineExceeded, ExitTimeout},
}

// failure is an error as it is written under -o json.
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
	Next    string           `json:"next,omitempty"`
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
	}
	if errors.Is(err, leveret.ErrOutcomeUnknown) {
		d.Reason = leveret.ReasonOutcomeUnknown
	}
	return failure{d}
}
