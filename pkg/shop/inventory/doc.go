// Package inventory keeps the stock and sets goods aside: all that an order needs, or none of it. What was decided for an
// order stays decided, however often it is asked again.
package inventory
