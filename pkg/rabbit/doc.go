// Package rabbit is a supervised RabbitMQ connection with a confirming publisher, a consumer, and both sides of
// request/reply, on github.com/rabbitmq/amqp091-go. It is the only package that imports the driver, and it knows
// nothing of contracts. Most programs use package leveret instead.
//
// # What holds throughout
//
//   - A [Conn] is made again forever after it was lost, over all its addresses; its users wait, with a context.
//   - The driver's own recovery stays off: it resolves pending confirms as nacks, so that "lost" looks like "refused".
//   - Nothing blocks on the socket while it holds a lock: bytes are handed to a writing goroutine (see [wire]), and
//     back-pressure is taken before, with the caller's context.
//   - Channels are not shared between uses. What is declared is declared on a channel that does nothing else, since a
//     mismatch closes the channel.
package rabbit
