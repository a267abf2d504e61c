//go:build !unix

package shopcli

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return nil }

// terminate kills a process, since there is no way to ask it to end.
func terminate(p *os.Process) { _ = p.Kill() }
