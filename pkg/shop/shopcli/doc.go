// Package shopcli holds the shop's own commands of the CLI: serve runs a single service, dev runs all of them with a
// broker, and demo runs them under load and through a crash and prints the ledger.
//
// How the commands work is in demo*.go and dev.go. The rest is machinery: system.go is the running shop as a whole,
// process*.go starts and ends its processes and reads their logs, and supervise.go restarts them.
package shopcli
