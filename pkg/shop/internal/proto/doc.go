// Package shopproto binds the shop's requests to the methods of its .proto files, which stand in the folder leveret
// with the code that `make proto` generates from them.
package shopproto
