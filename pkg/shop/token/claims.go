package token

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The issuer and the audience of tokens where nothing else is configured.
const (
	DefaultIssuer   = "auth"
	DefaultAudience = "shop"
)

// mediaType is the value of the header typ (RFC 9068): an access token, and no other JWT.
const mediaType = "at+jwt"

// Claims are what a token says.
type Claims struct {
	Issuer, Audience string
	// UserID is whose token it is, SessionID the session that it belongs to, and ID its own.
	UserID, SessionID, ID string
	// IssuedAt and ExpiresAt are cut to whole seconds.
	IssuedAt, ExpiresAt time.Time
}

// claims are Claims as they travel.
type claims struct {
	Issuer    string           `json:"iss"`
	Subject   string           `json:"sub"`
	Audience  jwt.Audience     `json:"aud"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	Expiry    *jwt.NumericDate `json:"exp"`
	ID        string           `json:"jti"`
	SessionID string           `json:"sid"`
}

// Sign returns a signed token.
func Sign(keyID string, key ed25519.PrivateKey, c Claims) (leveret.Secret, error) {
	if c.Issuer == "" || c.Audience == "" || c.UserID == "" || c.SessionID == "" || c.ID == "" || c.ExpiresAt.IsZero() {
		return "", errors.New("token: a claim is missing")
	}
	options := new(jose.SignerOptions).WithType(mediaType)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{KeyID: keyID, Key: key}}, options)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	signed, err := jwt.Signed(signer).Claims(claims{
		Issuer: c.Issuer, Subject: c.UserID, Audience: jwt.Audience{c.Audience},
		IssuedAt: jwt.NewNumericDate(c.IssuedAt), NotBefore: jwt.NewNumericDate(c.IssuedAt),
		Expiry: jwt.NewNumericDate(c.ExpiresAt), ID: c.ID, SessionID: c.SessionID,
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return leveret.Secret(signed), nil
}
