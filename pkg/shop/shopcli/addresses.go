package shopcli

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// listening are the keys that say where a service listens.
var listening = []string{"health.address", "http.address", "grpc.address"}

// chooseAddresses chooses where each service listens, by service and key: at its default addresses where those are wanted
// and free, otherwise at free ports.
func chooseAddresses(usual bool) (map[string]map[string]string, error) {
	chosen := make(map[string]map[string]string)
	var taken []net.Listener // until all are chosen, so that none is chosen twice
	defer func() {
		for _, l := range taken {
			_ = l.Close()
		}
	}()
	for _, p := range programs.All() {
		addresses := make(map[string]string)
		for _, key := range listening {
			address := p.Defaults[key]
			if address == "" {
				continue
			}
			var l net.Listener
			if usual {
				l, _ = net.Listen("tcp", address) //nolint:noctx // does not block
			}
			if l == nil {
				var err error
				if l, err = listenAnywhere(); err != nil {
					return nil, err
				}
			}
			taken = append(taken, l)
			addresses[key] = l.Addr().String()
		}
		chosen[p.Service.Name()] = addresses
	}
	return chosen, nil
}

// Ports are chosen below the range that Linux (from 32768) and macOS (from 49152) use for outgoing connections. Otherwise,
// one of those could take a service's port before the service is back.
const (
	firstPort = 10000
	lastPort  = 15999
)

// listenAnywhere listens at a free port of 127.0.0.1.
func listenAnywhere() (l net.Listener, err error) {
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // does not block
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no free port between %d and %d on 127.0.0.1: %w", firstPort, lastPort, err)
}

// peers returns the section of the settings that says where services call each other.
func (s *system) peers() map[string]any {
	peers := make(map[string]any)
	for name, addresses := range s.addresses {
		if name == gatewayName {
			continue
		}
		section := make(map[string]any)
		if a := addresses["http.address"]; a != "" {
			section["http_url"] = []string{"https://" + a}
		}
		if a := addresses["grpc.address"]; a != "" {
			section["grpc_address"] = []string{a}
		}
		if len(section) > 0 {
			peers[name] = section
		}
	}
	return peers
}

// gatewayName is the service that customers reach.
const gatewayName = "gateway"

// gatewayURL is the address of the REST API.
func (s *system) gatewayURL() string { return "http://" + s.addresses[gatewayName]["http.address"] }

// address returns where a service listens for a purpose, if it does. Health checks it answers at any free port if none
// was chosen.
func (s *system) address(name, key string) string {
	address := s.addresses[name][key]
	if key == "health.address" {
		address = cmp.Or(address, "127.0.0.1:0")
	}
	return address
}
