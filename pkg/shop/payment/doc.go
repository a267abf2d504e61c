// Package payment holds, charges and gives back money. An authorisation holds an amount on a card; an order that is
// placed captures it, and one that is cancelled voids it, or refunds what was captured. Whatever the order in which the
// news comes, and however often: nobody is charged twice, nor for an order that was cancelled.
//
// The money moves in a ledger that is only ever appended to. That an effect happens once is guarded by the state of the
// payment, of which there is one for an order; the ledger has no such guard, so that it can be checked against.
package payment
