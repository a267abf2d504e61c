//go:build unix

package conformance

import (
	"os"
	"syscall"
)

// ownGroup keeps the terminal's signals away from the client, and makes it and what it starts one group.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// terminate asks the client's group to end.
func terminate(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGTERM) }

// killGroup ends what is left of the client's group. An error means that nothing is.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
