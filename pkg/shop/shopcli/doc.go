// Package shopcli is what the CLI knows of the shop, beside its contracts: running its services (serve), all of them
// with a broker (dev), and seeing them work under load and a crash, with the ledger at the end (demo).
package shopcli
