// Package gateway is the shop's edge: the REST API that customers use. It checks their access tokens without a call,
// turns an order into a command, and passes what needs an answer on to the services that know it.
//
// Its requests are contracts as all others are, so that the OpenAPI document follows from them; but they are its own:
// nobody else in the system calls them, so they are not in package queues.
package gateway
