package service

import (
	"net"
	"os"
	"syscall"
)

// refuse makes the system ignore clients that begin to connect. Those that have begun become connected. The others try
// again after a second, when the listener is closed, and are refused.
func refuse(l net.Listener) {
	const flags, synAndAck, syn = 13, 0x12, 0x02 // of a TCP header
	filter := []syscall.SockFilter{
		{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: flags},
		{Code: syscall.BPF_ALU | syscall.BPF_AND | syscall.BPF_K, K: synAndAck},
		{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, Jf: 1, K: syn},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0xffff},
	}
	// Where it fails, a client that connects while the listener is closed may be reset.
	control(l, func(fd int) { _ = syscall.AttachLsf(fd, filter) }) //nolint:staticcheck // the standard library has no other
}

// queued returns a connection that the system has made and that was not accepted yet, or nil if there is none.
func queued(l net.Listener) (conn net.Conn) {
	control(l, func(listening int) {
		fd, _, err := syscall.Accept4(listening, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		file := os.NewFile(uintptr(fd), "")
		defer file.Close()
		conn, _ = net.FileConn(file)
	})
	return conn
}

func control(l net.Listener, f func(fd int)) {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // it fails only where it is closed
	}
}
