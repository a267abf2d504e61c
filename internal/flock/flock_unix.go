//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package flock

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// Lock acquires the lock file at path, waiting for its holder if necessary, and returns
// a function that releases it. If this process dies, the kernel releases it.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		for {
			err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
			if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
				break
			}
			select { // a lock gives no notice of its release
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			if err = context.Cause(ctx); err != nil {
				break
			}
		}
		if err != nil {
			syscall.Close(fd)
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		var held, now syscall.Stat_t
		if syscall.Fstat(fd, &held) == nil && syscall.Lstat(path, &now) == nil && held.Ino == now.Ino {
			return func() { syscall.Close(fd) }, nil
		}
		syscall.Close(fd) // its last holder removed it in the meantime
	}
}
