// Package inventory keeps the stock and sets goods aside: everything that an order needs, or nothing. The first
// decision for an order is final, however often the command arrives, until the order is cancelled: then the goods are
// put back once. If the cancellation arrives before the command, nothing is ever set aside. [State.Next] and
// docs/orders.md list the possible transitions.
package inventory
