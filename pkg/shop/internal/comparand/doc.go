// Package comparand is what `leveret compare` compares: a receiver that authorises a payment whichever way it is asked
// for, over HTTP, gRPC, and RabbitMQ as a request, a command and an event; and the contracts of its callers. All ways
// carry the same payload to the same handler.
package comparand
