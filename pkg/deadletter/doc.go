// Package deadletter looks at messages that failed for good, and gives them back to the queue where they failed.
//
// Every work queue has a dead-letter queue of its own, named after it. What stands there is read with basic.get, over
// plain AMQP, and given back: looking takes nothing away. A message that somebody looks at is out of the queue for as
// long as that lasts, seconds at most.
//
// A replay goes to the failing queue alone, never to the exchange: other subscribers to an event did not fail. The copy
// is confirmed by the broker, and routed, before the dead letter is acknowledged. Whatever interrupts a replay, nothing is
// lost; what may come twice are the few messages in flight, under their own message ids.
package deadletter
