//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package devbroker

import (
	"context"
	"errors"
	"os"
	"syscall"
)

// On systems without Unix processes, only a broker that is already running can be used.
const nodesPossible = false

type signal = syscall.Signal

const (
	sigKill = syscall.Signal(9)
	sigTerm = syscall.Signal(15)
	sigStop = syscall.Signal(19)
	sigCont = syscall.Signal(18)
)

func ownSession() *syscall.SysProcAttr                     { return nil }
func alive(int) bool                                       { return false }
func awaitEnd(context.Context, int) error                  { return errors.ErrUnsupported }
func signalProcess(int, signal) error                      { return errors.ErrUnsupported }
func openFIFO(string) (*os.File, error)                    { return nil, errors.ErrUnsupported }
func ownedByUs(os.FileInfo) bool                           { return false }
func guardianPipe(string, bool) (r, w *os.File, err error) { return nil, nil, errors.ErrUnsupported }
