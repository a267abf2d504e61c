// Package httprpc serves and makes requests over HTTP: the same handlers and the same calls as over RabbitMQ.
//
//	server, err := httprpc.NewServer(handlers, httprpc.ServerConfig{})   // an http.Handler
//	caller, err := httprpc.NewCaller(httprpc.CallerConfig{Service: queues.Order, URLs: []string{"http://payment:8083"}})
//	reply, err := queues.AuthorizePayment.Call(ctx, caller, request)
//
// Where a request is reached follows from its contract: see [leveret.HTTP]. Path and query parameters fill the fields of
// the payload by their JSON names, the body is JSON, and an error is a problem (RFC 9457). A server describes itself in
// an OpenAPI 3.1 document, at /openapi.json. docs/http.md has the whole of what travels.
package httprpc
