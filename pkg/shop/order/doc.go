// Package order accepts orders and sees each one through: to confirmed, once it is paid and its goods are set aside, or
// to cancelled. [Status.Next] and docs/orders.md list the possible transitions.
//
// A message may arrive more than once, and events may overtake each other. A handler commits its state, what it sends, and
// the id of its message in one transaction.
//
// Messages may also be lost. So an order has a time limit, and [Service.Check] looks at one that takes long: it sends again
// what may have been lost and, when the time is over, has payment close the order.
package order
