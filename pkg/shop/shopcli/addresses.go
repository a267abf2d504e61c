package shopcli

import (
	"cmp"
	"net"

	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// listening are the keys that say where a service listens.
var listening = []string{"health.address", "http.address", "grpc.address"}

// chooseAddresses chooses where each service listens, by service and key: at its default addresses where those are wanted
// and free, otherwise at ports of the system.
func (s *system) chooseAddresses(usual bool) error {
	chosen := make(map[string]map[string]string)
	for _, p := range programs.All() {
		addresses := make(map[string]string)
		for _, key := range listening {
			address := p.Defaults[key]
			if address == "" {
				continue
			}
			if !usual || listenBriefly(address) != nil {
				var err error
				if address, err = s.ports.choose(); err != nil {
					return err
				}
			}
			addresses[key] = address
		}
		chosen[p.Service.Name()] = addresses
	}
	s.addresses = chosen
	return nil
}

// listenBriefly fails where something listens already.
func listenBriefly(address string) error {
	l, err := net.Listen("tcp", address) //nolint:noctx // does not block
	if err != nil {
		return err
	}
	return l.Close()
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
