package queues

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the auth service. Only services call it; clients log in at the user service.
var (
	// SetPassword sets the password of a new user. A repeated request has no further effect; one with another password
	// fails with AlreadyExists and the reason "password_set".
	SetPassword = leveret.NewRequest[SetPasswordRequest, SetPasswordReply]("auth.set-password",
		leveret.HTTP("POST /passwords"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(SetPasswordRequest{UserID: exampleUserID, Password: examplePassword}))

	// CheckPassword begins a session if the password is right. An unknown user and a wrong password cost the same and fail
	// the same: with Unauthenticated and the reason "wrong_credentials". After too many attempts it fails with
	// ResourceExhausted and the reason "too_many_attempts", whatever the password. A repeated request begins another
	// session, which does no harm.
	CheckPassword = leveret.NewRequest[CheckPasswordRequest, Tokens]("auth.check-password",
		leveret.HTTP("POST /password-checks"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(CheckPasswordRequest{UserID: exampleUserID, Password: examplePassword}))

	// RefreshTokens exchanges a refresh token for new tokens of the same session. The old refresh token is then used up:
	// the same request, under the same message id, gets the same refresh token again for a short time; any other use of
	// the old one ends the session. A token that is unknown, expired, used up or of an ended session fails with
	// Unauthenticated and the reason "token_invalid" or "token_expired".
	RefreshTokens = leveret.NewRequest[RefreshTokensRequest, Tokens]("auth.refresh",
		leveret.HTTP("POST /refresh"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(RefreshTokensRequest{RefreshToken: exampleRefreshToken}))

	// LogOut ends the session of a refresh token. A token that is unknown, or whose session has ended, is fine. Access
	// tokens of the session stay valid until they expire.
	LogOut = leveret.NewRequest[LogOutRequest, LogOutReply]("auth.log-out",
		leveret.HTTP("POST /log-out"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(LogOutRequest{RefreshToken: exampleRefreshToken}))

	// ListKeys returns the public keys by which access tokens are verified, those that will sign soon included.
	ListKeys = leveret.NewRequest[ListKeysRequest, ListKeysReply]("auth.keys",
		leveret.HTTP("GET /keys"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(ListKeysRequest{}))
)

// Limits of a password, in characters.
const (
	MinPassword = 8
	MaxPassword = 256
)

// Tokens are a session's current tokens.
type Tokens struct {
	UserID string `json:"user_id" jsonschema:"format=uuid"`
	// AccessToken is a signed JWT. Anybody who has the keys of ListKeys can verify it: see package token.
	AccessToken     leveret.Secret `json:"access_token" jsonschema:"minLength=1,maxLength=4096"`
	AccessExpiresAt time.Time      `json:"access_expires_at"`
	// RefreshToken is good for one use: RefreshTokens exchanges it for new tokens.
	RefreshToken     leveret.Secret `json:"refresh_token" jsonschema:"minLength=1,maxLength=256"`
	RefreshExpiresAt time.Time      `json:"refresh_expires_at"`
}

// Validate reports every field that is wrong.
func (t Tokens) Validate() error {
	var p problems
	p.id("user_id", t.UserID)
	checkSecret(&p, "access_token", t.AccessToken, 1, MaxAccessToken)
	p.time("access_expires_at", t.AccessExpiresAt)
	checkSecret(&p, "refresh_token", t.RefreshToken, 1, MaxRefreshToken)
	p.time("refresh_expires_at", t.RefreshExpiresAt)
	return p.err()
}

// SetPasswordRequest is a new user's password.
type SetPasswordRequest struct {
	UserID   string         `json:"user_id" jsonschema:"format=uuid"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=8,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r SetPasswordRequest) Validate() error {
	var p problems
	p.id("user_id", r.UserID)
	checkSecret(&p, "password", r.Password, MinPassword, MaxPassword)
	return p.err()
}

// SetPasswordReply says that the password is set.
type SetPasswordReply struct{}

// CheckPasswordRequest is what somebody logs in with.
type CheckPasswordRequest struct {
	// UserID is empty, or an id that no user has, if the caller does not know the user: the answer then takes as long as
	// that to a wrong password.
	UserID   string         `json:"user_id,omitempty" jsonschema:"format=uuid"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=1,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r CheckPasswordRequest) Validate() error {
	var p problems
	if r.UserID != "" {
		p.id("user_id", r.UserID)
	}
	checkSecret(&p, "password", r.Password, 1, MaxPassword)
	return p.err()
}

// Limits of tokens, in characters.
const (
	MaxAccessToken  = 4096
	MaxRefreshToken = 256
)

// RefreshTokensRequest is a refresh token to be exchanged.
type RefreshTokensRequest struct {
	RefreshToken leveret.Secret `json:"refresh_token" jsonschema:"minLength=1,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r RefreshTokensRequest) Validate() error {
	var p problems
	checkSecret(&p, "refresh_token", r.RefreshToken, 1, MaxRefreshToken)
	return p.err()
}

// LogOutRequest is any refresh token of the session to be ended.
type LogOutRequest struct {
	RefreshToken leveret.Secret `json:"refresh_token" jsonschema:"minLength=1,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r LogOutRequest) Validate() error {
	var p problems
	checkSecret(&p, "refresh_token", r.RefreshToken, 1, MaxRefreshToken)
	return p.err()
}

// LogOutReply says that the session has ended.
type LogOutReply struct{}

// ListKeysRequest asks for all public keys.
type ListKeysRequest struct{}

// Validate always returns nil.
func (ListKeysRequest) Validate() error { return nil }

// ListKeysReply lists the public keys.
type ListKeysReply struct {
	Keys []PublicKey `json:"keys" jsonschema:"maxItems=100"`
}

// Validate reports every field that is wrong.
func (r ListKeysReply) Validate() error {
	var p problems
	if len(r.Keys) > MaxKeys {
		p.add("keys", "must hold at most %d keys", MaxKeys)
		return p.err()
	}
	for i, k := range r.Keys {
		k.check(&p, fmt.Sprintf("keys[%d]", i))
	}
	return p.err()
}

// Limits of a list of public keys: how many it may hold, and how long one may be, in characters.
const (
	MaxKeys = 100
	maxKey  = 256
)

// A PublicKey is a JSON Web Key of the kind Ed25519 (RFC 8037). A receiver ignores kinds that it does not know.
type PublicKey struct {
	KeyID string `json:"kid" jsonschema:"minLength=1,maxLength=64"`
	Type  string `json:"kty" jsonschema:"minLength=1,maxLength=64,example=OKP"`
	Curve string `json:"crv" jsonschema:"minLength=1,maxLength=64,example=Ed25519"`
	// X is the key's 32 bytes in base64url without padding.
	X string `json:"x" jsonschema:"minLength=1,maxLength=256"`
	// NotAfter is when the last token that the key may sign has expired. A later list may name a later time.
	NotAfter time.Time `json:"not_after"`
}

// The kind of the keys that sign access tokens.
const (
	KeyTypeOKP   = "OKP"
	CurveEd25519 = "Ed25519"
)

func (k PublicKey) check(p *problems, path string) {
	p.text(path+".kid", k.KeyID)
	p.text(path+".kty", k.Type)
	p.text(path+".crv", k.Curve)
	if _, err := k.Ed25519(); k.Type == KeyTypeOKP && k.Curve == CurveEd25519 && err != nil {
		p.add(path+".x", "must be 32 bytes in base64url without padding")
	} else if n := utf8.RuneCountInString(k.X); n < 1 || n > maxKey {
		p.add(path+".x", "must be 1 to %d characters long", maxKey)
	}
	p.time(path+".not_after", k.NotAfter)
}

// NewPublicKey returns an Ed25519 key as it is published.
func NewPublicKey(keyID string, key ed25519.PublicKey, notAfter time.Time) PublicKey {
	x := base64.RawURLEncoding.EncodeToString(key)
	return PublicKey{KeyID: keyID, Type: KeyTypeOKP, Curve: CurveEd25519, X: x, NotAfter: notAfter}
}

// Ed25519 returns the key, or an error if it is of another kind.
func (k PublicKey) Ed25519() (ed25519.PublicKey, error) {
	if k.Type != KeyTypeOKP || k.Curve != CurveEd25519 {
		return nil, fmt.Errorf("the key is of the kind %q, curve %q; only OKP, Ed25519 is supported", k.Type, k.Curve)
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the key does not have %d bytes", ed25519.PublicKeySize)
	}
	return key, nil
}

// checkSecret never repeats the value in its message.
func checkSecret(p *problems, path string, value leveret.Secret, low, high int) {
	switch n := utf8.RuneCountInString(string(value)); {
	case n == 0:
		p.add(path, "is required")
	case n < low:
		p.add(path, "must be at least %d characters long", low)
	case n > high:
		p.add(path, "must be at most %d characters long", high)
	}
}
