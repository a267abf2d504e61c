// Package topology holds what a broker must have for messages to travel: exchanges, queues and bindings, as plain
// values. It talks to no broker; package rabbit declares what is described here. The names of all of Leveret's
// exchanges and queues are made here and nowhere else, by [Names].
package topology
