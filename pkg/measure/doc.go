// Package measure holds what measurements share: load at a fixed rate and with a fixed number in flight, waiting times,
// the spread of rounds, CPU time, bytes on a connection, ledgers of what became of the work, and charts. It measures
// anything; of Leveret it knows nothing.
package measure
