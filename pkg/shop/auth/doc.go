// Package auth keeps passwords and sessions, and signs the access tokens that package token verifies. docs/users.md
// describes all of it.
//
// A password is stored as an argon2id hash. A session begins with the right password and has two tokens: an access
// token, which lives for minutes and is verified without a call, and a refresh token, which is good for one use. A
// refresh token that is used twice was stolen, and ends its session.
//
// The keys that sign access tokens are made by the service itself and rotate: [rotation.plan] decides when.
package auth
