//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package flock

import (
	"context"
	"errors"
)

// Lock is not supported on this system.
func Lock(context.Context, string) (unlock func(), err error) { return nil, errors.ErrUnsupported }
