// Package httprpc carries requests over HTTP: a [Server] serves the handlers of a service as a REST API that describes
// itself in OpenAPI, and a [Caller] makes the requests of another. Contracts, handlers and errors are the same as over
// RabbitMQ.
//
// A request is served under the pattern of its contract, leveret.HTTP("GET /orders/{order_id}"), or under POST and its
// name. The parameters in path and query fill the payload's fields by their JSON names; the rest is a JSON body. Errors
// are problem details (RFC 9457). docs/http.md is the public contract, for clients in any language.
package httprpc
