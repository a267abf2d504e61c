// Package order accepts orders and sees each one through: to confirmed, once it is paid and its goods are set aside, or
// to cancelled. [Status.Next] and docs/orders.md list the possible transitions.
//
// A message may arrive more than once, and events may overtake each other. A handler commits its state before it sends
// anything. If the process dies in between, the broker redelivers the message; the handler then finds its own effect in
// the store and sends the same messages again, under the same ids.
package order
