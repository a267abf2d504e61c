// Package payment authorises, captures, voids and refunds payments. An authorisation holds an amount on a card. Placing
// the order captures the amount; cancelling it voids the authorisation, or refunds what was captured. In whatever order
// these events arrive, and however often, no customer is charged twice or for a cancelled order.
//
// Each order has one payment, and the payment's state makes sure that each effect happens once. Every movement of money
// is also appended to a ledger, which has no such guard and so can be used to check the result.
package payment
