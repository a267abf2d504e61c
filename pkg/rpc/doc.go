// Package rpc holds what the synchronous transports share, HTTP (package httprpc) and gRPC (package grpcrpc): how a
// message's id, deadline, trace and headers travel as metadata, and when a call is made again. Use it to write another
// transport; to serve and call requests, use those packages.
package rpc
