// Package term is what a command line needs of a terminal: streams, colours, tables, a progress bar, a question, and
// text from anywhere made safe to print. It does not know Leveret.
package term
