// Package health turns facts about a broker and the queues of a system into one verdict, with a reason for each thing
// that is wrong and the next command to run. It asks no broker: the caller collects the facts.
package health
