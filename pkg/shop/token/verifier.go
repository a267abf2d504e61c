package token

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// VerifierConfig says what a verifier accepts and where its keys come from. The zero value of a field is its default.
type VerifierConfig struct {
	// Keys returns the public keys; [FromAuth] asks the auth service. Required.
	Keys func(ctx context.Context) ([]queues.PublicKey, error)
	// Issuer and Audience are what a token has to name. Default [DefaultIssuer] and [DefaultAudience].
	Issuer, Audience string
	// RefreshEvery is how often Run fetches the keys. It must be well below the time that a key is published before it
	// signs. Default 5 min.
	RefreshEvery time.Duration
	// MinInterval is the least time between two fetches, however many tokens name a key that is not known. Default 5 s.
	MinInterval time.Duration
	// FetchTimeout is how long a fetch may take. Default 2 s.
	FetchTimeout time.Duration
	// Leeway is how far the clock of the auth service may be ahead. Default 5 s.
	Leeway time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// A Verifier verifies access tokens. It needs no call for a token whose key it has, so that tokens remain valid while
// the auth service is away. It is safe for concurrent use.
type Verifier struct {
	config VerifierConfig
	keys   *keySet
}

// A Principal is who makes a request.
type Principal struct {
	UserID    string
	SessionID string
	// ExpiresAt is when the token expires.
	ExpiresAt time.Time
}

// NewVerifier returns a verifier that has no keys yet: Run fetches them, or else the first Verify.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	if config.Keys == nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "token: VerifierConfig.Keys is nil; it says where the keys come from")
	}
	for _, d := range [...]struct {
		name    string
		value   *time.Duration
		initial time.Duration
	}{
		{"RefreshEvery", &config.RefreshEvery, 5 * time.Minute},
		{"MinInterval", &config.MinInterval, 5 * time.Second},
		{"FetchTimeout", &config.FetchTimeout, 2 * time.Second},
		{"Leeway", &config.Leeway, 5 * time.Second},
	} {
		if *d.value < 0 {
			return nil, leveret.Errorf(leveret.InvalidArgument, "token: VerifierConfig.%s is %v; it must be positive", d.name, *d.value)
		}
		*d.value = cmp.Or(*d.value, d.initial)
	}
	config.Issuer = cmp.Or(config.Issuer, DefaultIssuer)
	config.Audience = cmp.Or(config.Audience, DefaultAudience)
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Verifier{config: config, keys: newKeySet(config)}, nil
}

// FromAuth returns a source of keys for a [VerifierConfig]: the auth service.
func FromAuth(caller leveret.Caller) func(ctx context.Context) ([]queues.PublicKey, error) {
	return func(ctx context.Context) ([]queues.PublicKey, error) {
		reply, err := queues.ListKeys.Call(ctx, caller, queues.ListKeysRequest{})
		if err != nil {
			return nil, err
		}
		return reply.Keys, reply.Validate()
	}
}

// Bearer returns the token in the value of an HTTP header Authorization, or [ErrMissing].
func Bearer(authorization string) (string, error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", ErrMissing
	}
	return token, nil
}

// Run keeps the keys fresh until ctx ends, and then returns nil, after a fetch that runs. While the auth service is
// away, it tries again and again.
func (v *Verifier) Run(ctx context.Context) error {
	for {
		wait := v.config.RefreshEvery
		if v.keys.refresh(ctx) != nil {
			wait = v.config.MinInterval
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// Verify returns whose token it is. Its error is [ErrMissing], [ErrInvalid] or [ErrExpired], or [ErrNoKeys] where the
// token names a key that is not known and the keys could not be fetched. A forged token costs at most one fetch per
// MinInterval, together with all others. Verify blocks only while keys are fetched.
func (v *Verifier) Verify(ctx context.Context, token string) (Principal, error) {
	switch {
	case token == "":
		return Principal{}, ErrMissing
	case len(token) > queues.MaxAccessToken:
		return Principal{}, invalid(fmt.Sprintf("it has more than %d bytes", queues.MaxAccessToken))
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(parsed.Headers) != 1 {
		return Principal{}, invalid("it is not a JWT signed with EdDSA")
	}
	header := parsed.Headers[0]
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(typ, mediaType) {
		return Principal{}, invalid("it is not of the type " + mediaType)
	}
	key, ok := v.keys.find(header.KeyID)
	if !ok {
		// An old token need not cause a fetch. Nothing else is believed of what is not verified.
		var c claims
		if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil || c.Expiry == nil {
			return Principal{}, invalid("it has no expiry")
		}
		if !v.config.Now().Before(c.Expiry.Time()) {
			return Principal{}, ErrExpired
		}
		if err := v.keys.refresh(ctx); err != nil {
			return Principal{}, err
		}
		if key, ok = v.keys.find(header.KeyID); !ok {
			return Principal{}, invalid("its key is not known")
		}
	}
	var c claims
	if err := parsed.Claims(key, &c); err != nil {
		return Principal{}, invalid("its signature is wrong")
	}
	return v.accept(c)
}

// accept checks the claims of a token whose signature is right.
func (v *Verifier) accept(c claims) (Principal, error) {
	now := v.config.Now()
	latest := now.Add(v.config.Leeway)
	switch {
	case c.Issuer != v.config.Issuer:
		return Principal{}, invalid("it has another issuer")
	case !slices.Contains(c.Audience, v.config.Audience):
		return Principal{}, invalid("it is for another audience")
	case c.Expiry == nil:
		return Principal{}, invalid("it has no expiry")
	case !now.Before(c.Expiry.Time()):
		return Principal{}, ErrExpired
	case c.NotBefore != nil && c.NotBefore.Time().After(latest), c.IssuedAt != nil && c.IssuedAt.Time().After(latest):
		return Principal{}, invalid("it is from the future")
	case c.Subject == "" || c.SessionID == "":
		return Principal{}, invalid("it names no user or no session")
	}
	return Principal{UserID: c.Subject, SessionID: c.SessionID, ExpiresAt: c.Expiry.Time().UTC()}, nil
}
