// Package stream reads events that are kept: those of contracts with the option Kept of package leveret.
package stream
