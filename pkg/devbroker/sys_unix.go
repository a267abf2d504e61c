//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package devbroker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const nodesPossible = true

// ownSession runs a child in its own session, so that Ctrl-C and hangups do not reach it.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// alive reports whether a process is running. A zombie is not. If the process is a child
// of ours that has ended, alive reaps it.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	reaped, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	if err == nil { // a child of ours
		return reaped != pid
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !errors.Is(err, syscall.ESRCH) // no /proc on macOS
	}
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" "))
	return !bytes.HasPrefix(state, []byte("Z")) && !bytes.HasPrefix(state, []byte("X"))
}

// awaitEnd waits until a process has ended.
func awaitEnd(ctx context.Context, pid int) error {
	for pause := time.Millisecond; alive(pid); pause = min(2*pause, 50*time.Millisecond) {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

func signalProcess(pid int, sig signal) error {
	if pid <= 0 {
		return os.ErrProcessDone
	}
	err := syscall.Kill(pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

type signal = syscall.Signal

const (
	sigKill = syscall.SIGKILL
	sigTerm = syscall.SIGTERM
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

// guardianPipe creates the pipe between owner and guardian. Both ends are closed on
// exec, so that no other child inherits them.
func guardianPipe(dir string, fifo bool) (read, write *os.File, err error) {
	if !fifo {
		return os.Pipe()
	}
	path := filepath.Join(dir, "users")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// Open for reading first, in non-blocking mode, so that opening for writing does not block.
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if write, err = openFIFO(dir); err != nil {
		syscall.Close(fd)
		return nil, nil, err
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		syscall.Close(fd)
		write.Close()
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), path), write, nil
}

// openFIFO makes this process a user of a shared node. It fails if no guardian is reading.
func openFIFO(dir string) (*os.File, error) {
	path := filepath.Join(dir, "users")
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ownedByUs reports whether a file belongs to this user.
func ownedByUs(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
