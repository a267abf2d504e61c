// Package health turns facts about a broker and the queues of a system into one verdict, with a reason for each thing
// that is wrong and the next command to run. It asks nobody: whoever has the facts passes them in.
package health
