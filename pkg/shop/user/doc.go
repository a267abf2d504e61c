// Package user registers customers and logs them in. It keeps their names and addresses; their passwords are the auth
// service's. docs/users.md describes both.
//
// A registration has two steps, in two services: the user is stored as pending, the auth service sets the password, and
// the user becomes active. If the process dies in between, the repeated request continues where it stopped. A pending
// user cannot log in.
package user
