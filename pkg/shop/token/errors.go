package token

import "github.com/leveretmq/leveret/pkg/leveret"

// What a token can be refused with. errors.Is finds them, on the other side of a transport too.
var (
	ErrMissing = leveret.NewError(leveret.Unauthenticated, "token_missing", "there is no access token")
	ErrInvalid = leveret.NewError(leveret.Unauthenticated, reasonInvalid, "the access token is not valid")
	ErrExpired = leveret.NewError(leveret.Unauthenticated, "token_expired", "the access token has expired")
	// ErrNoKeys says that nothing is known about the token, because the key that it names could not be fetched.
	ErrNoKeys = leveret.NewError(leveret.Unavailable, "keys_unavailable", "the keys of access tokens cannot be fetched")
)

const reasonInvalid = "token_invalid"

// invalid returns an ErrInvalid that says more. The detail must not repeat any part of the token.
func invalid(detail string) error {
	return leveret.NewError(leveret.Unauthenticated, reasonInvalid, "the access token is not valid: "+detail)
}
