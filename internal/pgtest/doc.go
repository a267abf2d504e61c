//go:build postgres

// Package pgtest starts PostgreSQL servers for tests, from an installed PostgreSQL or from Debian's packages, which it
// unpacks into the user's cache folder. A server ends with the process that started it, even if that is killed, and leaves
// nothing behind.
package pgtest
