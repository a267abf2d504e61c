// Package deadletter reads messages that failed for good and replays them to the queue where they failed.
//
// Every work queue has its own dead-letter queue, named after it. A [Store] consumes it over plain AMQP, and gives back
// what it has read: looking removes nothing. While it reads, it holds the messages, and others do not see them. It gives
// them back before the broker's consumer timeout ends, and goes on with the rest.
//
// A replay goes to the failing queue alone, never to the exchange: other subscribers to an event did not fail. The
// broker confirms that the copy is in the queue before the dead letter is acked, so an interruption loses nothing. What
// may arrive twice are the few messages in flight, under their own message ids.
package deadletter
