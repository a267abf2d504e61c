package devbroker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
)

// ports of one node, all on 127.0.0.1. They stay the same over restarts.
type ports struct {
	AMQP, Management, Dist, Epmd int
}

// Ports are taken from below the range that Linux (32768 and up) and macOS (49152
// and up) hand out to outgoing connections: those would take a killed node's port
// before it is back.
const (
	firstPort = 20000
	lastPort  = 31999
)

// usualPorts are RabbitMQ's own, as far as nobody listens on them now.
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

// freePorts picks four ports at random that nobody listens on now. Somebody may
// take one before the node does: Start then tries others.
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
