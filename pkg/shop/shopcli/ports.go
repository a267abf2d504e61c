package shopcli

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are chosen below the range that Linux (from 32768) and macOS (from 49152) use for outgoing connections. Otherwise,
// one of those could take a service's port before the service is back.
const (
	firstPort = 10000
	lastPort  = 15999
	blockSize = 60
)

// ports are a block of ports of 127.0.0.1 that no other demo on this machine gives to its services, since the first port
// of the block is listened at until the block is closed. It is for one goroutine at a time.
type ports struct {
	lock  net.Listener
	first int
	given int // how many times a port was chosen
}

// reservePorts finds a block that nobody has. The caller closes it when nothing listens in it any more.
func reservePorts() (*ports, error) {
	var failed error
	for _, block := range rand.Perm((lastPort + 1 - firstPort) / blockSize) {
		first := firstPort + block*blockSize
		lock, err := net.Listen("tcp", loopback(first)) //nolint:noctx // does not block
		if err == nil {
			return &ports{lock: lock, first: first}, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("no free ports between %d and %d on 127.0.0.1: %w", firstPort, lastPort, failed)
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// choose returns a port of the block at which nothing listens, as an address.
func (p *ports) choose() (string, error) {
	var failed error
	for range blockSize - 1 {
		address := loopback(p.first + 1 + p.given%(blockSize-1))
		p.given++
		if failed = listenBriefly(address); failed == nil {
			return address, nil
		}
	}
	return "", fmt.Errorf("no free port between %d and %d on 127.0.0.1: %w", p.first, p.first+blockSize-1, failed)
}

func (p *ports) close() error { return p.lock.Close() }
