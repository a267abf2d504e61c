// Package devcerts makes certificates for development and tests: an authority, and a certificate for each service, with
// which it serves and calls others over mutual TLS. It is not for production: the authority's key lies beside the
// certificates.
package devcerts
