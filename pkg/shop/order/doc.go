// Package order takes orders and leads each to its end: confirmed once it is paid and its goods are set aside, or
// cancelled. What may follow what stands in docs/orders.md, and in [Status.After].
//
// Every message may come more than once, and events overtake each other. State is committed first, then messages are
// sent; a process that dies in between gets its message again, finds its own effect in the store, and sends the same
// messages again under the same ids.
package order
