// Package peers holds the libraries that are compared, one file for each: the raw driver, Leveret, and others, each
// with the strongest guarantee that it offers. All carry the same payload, as JSON, over a quorum queue with the same
// arguments, with persistent messages, and with the same limits on what is in flight.
package peers
