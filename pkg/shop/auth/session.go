package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// What a refresh token can be refused with.
var (
	ErrTokenInvalid = leveret.NewError(leveret.Unauthenticated, "token_invalid", "the refresh token is not valid; log in again")
	ErrTokenExpired = leveret.NewError(leveret.Unauthenticated, "token_expired", "the refresh token has expired; log in again")
)

// A refreshToken is what the store knows of a token, and of its session.
type refreshToken struct {
	hash              []byte
	sessionID, userID string
	expiresAt         time.Time
	// ended says that the session has ended.
	ended bool

	// The following are set once the token was used.
	usedAt time.Time
	usedBy string // the id of the message
	salt   []byte
	// superseded says that the next token was used too.
	superseded bool
}

// use is what a refresh token is good for.
type use int

const (
	useRotate  use = iota + 1 // it is exchanged for a new one
	useRepeat                 // it gets the same new one again, whose first answer was lost
	useInvalid                // it is good for nothing
	useExpired
	useStolen // it was used by somebody else, and ends the session
)

// use decides what becomes of the token in the message messageID at now.
//
// A token that was used already is taken for stolen: either the thief or the owner has used it first. The exception is
// the same message once more, soon after: its answer was lost, or the broker delivered it twice. Only its sender knows
// the id.
func (t *refreshToken) use(messageID string, now time.Time, grace time.Duration) use {
	repeated := !t.usedAt.IsZero() && messageID != "" && t.usedBy == messageID && now.Before(t.usedAt.Add(grace))
	switch {
	case t.ended:
		return useInvalid
	case repeated && t.superseded: // the answer did arrive
		return useInvalid
	case repeated:
		return useRepeat
	case !t.usedAt.IsZero():
		return useStolen
	case !now.Before(t.expiresAt):
		return useExpired
	default:
		return useRotate
	}
}

// newRefreshToken returns a token of 256 random bits.
func newRefreshToken() leveret.Secret { return encodeToken(random(32)) }

// nextRefreshToken derives the token that follows another one. It is as random as the salt, has 256 bits, and can be
// computed again only with both: neither the store nor the old token is enough.
func nextRefreshToken(token leveret.Secret, salt []byte) leveret.Secret {
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(token))
	return encodeToken(mac.Sum(nil))
}

func encodeToken(b []byte) leveret.Secret {
	return leveret.Secret(base64.RawURLEncoding.EncodeToString(b))
}

// hashToken returns what is stored of a token. A plain hash is enough, since nobody can guess 256 random bits.
func hashToken(token leveret.Secret) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}
