// Package wire holds what Leveret's programs write into the headers of messages, and how they read what others wrote
// there. docs/wire.md is the public contract.
package wire
