// Package measure runs in the child process: it performs one task with one peer and reports the resources it used.
// Every measurement has its own process, so that CPU time, memory and allocations are those of the peer alone.
package measure
