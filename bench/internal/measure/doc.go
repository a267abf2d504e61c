// Package measure is the inside of a child process: it takes one task, does it with one peer, and tells what that took
// of the process. Every measurement has a process of its own, so that its CPU time, memory and allocations are those
// of the peer alone.
package measure
