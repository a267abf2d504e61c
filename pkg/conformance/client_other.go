//go:build !unix

package conformance

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return nil }

// terminate kills the client, since there is no way to ask it to end.
func terminate(p *os.Process) error { return p.Kill() }

func killGroup(*os.Process) {}
