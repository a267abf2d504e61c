//go:build !short

package peers

// others are the other libraries. The build tag "short" leaves them out, and with them most of what has to be fetched
// and compiled.
func others() []Peer {
	return []Peer{watermillPeer(), goRabbitMQ(), amqpRPC(), amqpxPeer(), amqpextraPeer(), machineryPeer()}
}
