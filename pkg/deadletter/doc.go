// Package deadletter reads messages that failed for good and replays them to the queue where they failed.
//
// Every work queue has its own dead-letter queue, named after it. A [Store] reads it by consuming, over plain AMQP,
// and returns what it read: looking takes nothing away. A message is missing from the queue only while somebody looks
// at it, which is seconds at most.
//
// A replay goes to the failing queue alone, never to the exchange: other subscribers to an event did not fail. The
// broker confirms that the copy is in the queue before the dead letter is acked, so an interruption loses nothing. What
// may arrive twice are the few messages in flight, under their own message ids.
package deadletter
