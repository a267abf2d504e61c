// Package token holds the access tokens of the shop: their format, which the auth service signs, and a [Verifier], by
// which any service checks them without a call.
//
// A token is a JWT (RFC 7519, RFC 9068) signed with Ed25519. It names a user and a session, and lives for minutes. The
// keys come from the auth service, by the request auth.keys. A key is published long before it signs, so that a
// verifier has it in time, and remains until its last token has expired.
package token
