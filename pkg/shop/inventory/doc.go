// Package inventory keeps the stock and sets goods aside: everything that an order needs, or nothing. The first decision
// for an order is final, however often the command arrives.
package inventory
