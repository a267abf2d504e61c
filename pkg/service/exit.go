package service

import (
	"errors"
	"fmt"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartial     = 3 // some of it was done, some failed
	exitNotFound    = 5
	exitAnswered    = 6 // the outbox has refused, or failed
	exitUnreachable = 7
	exitAtOnce      = 130 // or a command was interrupted
)

// exitError is an error with an exit code.
type exitError struct {
	code   int
	err    error
	logged bool // the error has been logged
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exit returns an error with an exit code. The format may contain %w.
func exit(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// ExitCode returns the exit code for an error returned by [Program.Command]. It is 0 for nil, and 1 for any error
// without an exit code.
func ExitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}
