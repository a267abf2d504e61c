// Package payment authorises, captures, voids and refunds payments. An authorisation holds an amount on a card.
// Placing the order captures the amount; cancelling it voids the authorisation, or refunds what was captured. If the
// order is cancelled before its authorisation is asked for, the payment is declined. The order service can also ask to close
// a payment, which does the same as cancelling and is answered. In whatever order these messages
// arrive, and however often, no customer is charged twice or for a cancelled order.
//
// Each order has one payment, and the payment's state makes sure that each effect happens once. Every movement of money
// is also appended to a ledger, which has no such guard and so can be used to check the result.
package payment
