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
	exitUnreachable = 7
	exitAtOnce      = 130
)

// exitError is an error with the exit code that it stands for.
type exitError struct {
	code   int
	err    error
	logged bool // it is in the log already
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exit makes an error with an exit code. The format takes %w.
func exit(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// ExitCode returns the exit code that an error of [Program.Command] stands for: 0 for nil, 1 for an error that knows no
// better.
func ExitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}
