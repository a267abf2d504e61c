package service

import (
	"net"
	"syscall"
)

// refuse makes the system ignore clients that begin to connect. Those that have begun become connected. The others try
// again after a second, when the listener is closed, and are refused.
func refuse(l net.Listener) {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	const flags, synAndAck, syn = 13, 0x12, 0x02 // of a TCP header
	filter := []syscall.SockFilter{
		{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: flags},
		{Code: syscall.BPF_ALU | syscall.BPF_AND | syscall.BPF_K, K: synAndAck},
		{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, Jf: 1, K: syn},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0xffff},
	}
	// Where it fails, a client that connects while the listener is closed may be reset.
	_ = raw.Control(func(fd uintptr) { _ = syscall.AttachLsf(int(fd), filter) }) //nolint:staticcheck // the standard library's
}
