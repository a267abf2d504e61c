package devbroker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
)

// ports are the ports of a node, all on 127.0.0.1. They do not change across restarts.
type ports struct {
	AMQP, Management, Dist, Epmd int
}

// Ports are chosen below the range that Linux (from 32768) and macOS (from 49152) use
// for outgoing connections. Otherwise, one of those could take a killed node's port
// before the node is back.
const (
	firstPort = 20000
	lastPort  = 31999
)

// usualPorts returns RabbitMQ's default ports, replacing those that are in use.
func usualPorts() (ports, error) {
	p, err := freePorts()
	if portFree(5672) {
		p.AMQP = 5672
	}
	if portFree(15672) {
		p.Management = 15672
	}
	return p, err
}

// freePorts picks four free ports at random. If one of them is taken before the node
// starts, Start tries others.
func freePorts() (ports, error) {
	var found []int
	for tries := 0; len(found) < 4; tries++ {
		if tries > 200 {
			return ports{}, errors.New("no four free ports between " + strconv.Itoa(firstPort) + " and " + strconv.Itoa(lastPort) + " on 127.0.0.1")
		}
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if !slices.Contains(found, port) && portFree(port) {
			found = append(found, port)
		}
	}
	return ports{AMQP: found[0], Management: found[1], Dist: found[2], Epmd: found[3]}, nil
}

func portFree(port int) bool {
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
