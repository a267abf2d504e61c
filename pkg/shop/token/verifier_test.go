package token_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/token"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

// bundle is a verifier with an auth service of the test's own.
type bundle struct {
	*token.Verifier
	now     time.Time
	private ed25519.PrivateKey

	mu      sync.Mutex
	keys    []queues.PublicKey
	away    bool
	fetches int
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{now: time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)}
	b.private = b.publish(t, "k1")
	v, err := token.NewVerifier(token.VerifierConfig{Keys: b.list, Now: func() time.Time { return b.now }})
	require.NoError(t, err)
	b.Verifier = v
	return b
}

func (b *bundle) list(context.Context) ([]queues.PublicKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fetches++
	if b.away {
		return nil, errors.New("auth is away")
	}
	return b.keys, nil
}

// publish adds a key that is good for an hour.
func (b *bundle) publish(t *testing.T, id string) ed25519.PrivateKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys = append(b.keys, queues.NewPublicKey(id, public, b.now.Add(time.Hour)))
	return private
}

func (b *bundle) claims() token.Claims {
	return token.Claims{
		Issuer: token.DefaultIssuer, Audience: token.DefaultAudience, UserID: "u1", SessionID: "s1", ID: "t1",
		IssuedAt: b.now, ExpiresAt: b.now.Add(5 * time.Minute),
	}
}

func sign(t *testing.T, id string, key ed25519.PrivateKey, c token.Claims) string {
	t.Helper()
	signed, err := token.Sign(id, key, c)
	require.NoError(t, err)
	return string(signed)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	b := setup(t)
	signed := sign(t, "k1", b.private, b.claims())
	want := token.Principal{UserID: "u1", SessionID: "s1", ExpiresAt: b.now.Add(5 * time.Minute)}
	for range 3 {
		p, err := b.Verify(t.Context(), signed)
		require.NoError(t, err)
		require.Equal(t, want, p)
	}
	require.Equal(t, 1, b.fetches, "the keys are kept")

	b.away = true
	b.now = b.now.Add(5*time.Minute - time.Second)
	_, err := b.Verify(t.Context(), signed)
	require.NoError(t, err, "no call is needed while the key is known")
	b.now = b.now.Add(time.Second)
	_, err = b.Verify(t.Context(), signed)
	require.ErrorIs(t, err, token.ErrExpired)
	require.ErrorIs(t, err, leveret.Unauthenticated)
}

func TestFormat(t *testing.T) {
	t.Parallel()
	b := setup(t)
	parts := strings.Split(sign(t, "k1", b.private, b.claims()), ".")
	require.Len(t, parts, 3)
	var header, claims map[string]any
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, into))
	}
	require.Equal(t, map[string]any{"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"}, header)
	now := float64(b.now.Unix())
	require.Equal(t, map[string]any{
		"iss": "auth", "sub": "u1", "aud": "shop", "iat": now, "nbf": now, "exp": now + 300, "jti": "t1", "sid": "s1",
	}, claims)

	_, err := token.Sign("k1", b.private, token.Claims{})
	require.Error(t, err)
}

// forge signs any header and claims in its own way.
func forge(t *testing.T, header, claims map[string]any, sign func(input []byte) []byte) string {
	t.Helper()
	encode := func(v map[string]any) string {
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	input := encode(header) + "." + encode(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	public, _ := b.private.Public().(ed25519.PublicKey)
	_, foreign, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)

	header := map[string]any{"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"}
	now := b.now.Unix()
	claims := map[string]any{"iss": "auth", "sub": "u1", "aud": "shop", "iat": now, "nbf": now, "exp": now + 300, "jti": "t1", "sid": "s1"}
	ours := func(input []byte) []byte { return ed25519.Sign(b.private, input) }
	with := func(of map[string]any, name string, value any) map[string]any {
		changed := maps.Clone(of)
		if changed[name] = value; value == nil {
			delete(changed, name)
		}
		return changed
	}
	hs256 := func(key []byte) func(input []byte) []byte {
		return func(input []byte) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write(input)
			return mac.Sum(nil)
		}
	}
	genuine := forge(t, header, claims, ours)
	_, err = b.Verify(t.Context(), genuine)
	require.NoError(t, err, "what is forged below is right but for one thing")
	parts := strings.Split(genuine, ".")
	jwk := queues.NewPublicKey("k1", foreign.Public().(ed25519.PublicKey), b.now)

	for name, tc := range map[string]struct {
		token string
		want  error
	}{
		"none":                        {"", token.ErrMissing},
		"alg none":                    {forge(t, with(header, "alg", "none"), claims, func([]byte) []byte { return nil }), token.ErrInvalid},
		"alg None":                    {forge(t, with(header, "alg", "None"), claims, func([]byte) []byte { return nil }), token.ErrInvalid},
		"alg left out":                {forge(t, with(header, "alg", nil), claims, ours), token.ErrInvalid},
		"alg none with our signature": {forge(t, with(header, "alg", "none"), claims, ours), token.ErrInvalid},
		"HS256 with the public key":   {forge(t, with(header, "alg", "HS256"), claims, hs256(public)), token.ErrInvalid},
		"HS256 with its text": {
			forge(t, with(header, "alg", "HS256"), claims, hs256([]byte(base64.RawURLEncoding.EncodeToString(public)))), token.ErrInvalid,
		},
		"RS256": {forge(t, with(header, "alg", "RS256"), claims, func(input []byte) []byte {
			digest := sha256.Sum256(input)
			signature, err := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, digest[:])
			require.NoError(t, err)
			return signature
		}), token.ErrInvalid},
		"another key": {forge(t, header, claims, func(input []byte) []byte { return ed25519.Sign(foreign, input) }), token.ErrInvalid},
		"another key in the header": {
			forge(t, with(header, "jwk", map[string]any{"kty": jwk.Type, "crv": jwk.Curve, "x": jwk.X}), claims,
				func(input []byte) []byte { return ed25519.Sign(foreign, input) }), token.ErrInvalid,
		},
		"an unknown critical header": {forge(t, with(with(header, "crit", []string{"new"}), "new", 1), claims, ours), token.ErrInvalid},
		"kid unknown":                {forge(t, with(header, "kid", "../k1"), claims, ours), token.ErrInvalid},
		"kid left out":               {forge(t, with(header, "kid", nil), claims, ours), token.ErrInvalid},
		"another type":               {forge(t, with(header, "typ", "JWT"), claims, ours), token.ErrInvalid},
		"type left out":              {forge(t, with(header, "typ", nil), claims, ours), token.ErrInvalid},
		"tampered":                   {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"u2"}`)) + "." + parts[2], token.ErrInvalid},
		"signature left out":         {parts[0] + "." + parts[1] + ".", token.ErrInvalid},
		"signature cut":              {genuine[:len(genuine)-4], token.ErrInvalid},
		"two parts":                  {parts[0] + "." + parts[1], token.ErrInvalid},
		"four parts":                 {genuine + "." + parts[2], token.ErrInvalid},
		"no JWT":                     {"let me in", token.ErrInvalid},
		"bytes":                      {"\xff\x00..", token.ErrInvalid},
		"JSON serialization": {
			fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]), token.ErrInvalid,
		},
		"oversized":            {forge(t, header, with(claims, "pad", strings.Repeat("x", 4096)), ours), token.ErrInvalid},
		"expired":              {forge(t, header, with(claims, "exp", now), ours), token.ErrExpired},
		"expired, kid unknown": {forge(t, with(header, "kid", "old"), with(claims, "exp", now), ours), token.ErrExpired},
		"exp left out":         {forge(t, header, with(claims, "exp", nil), ours), token.ErrInvalid},
		"exp is a text":        {forge(t, header, with(claims, "exp", "never"), ours), token.ErrInvalid},
		"not yet":              {forge(t, header, with(claims, "nbf", now+6), ours), token.ErrInvalid},
		"issued later":         {forge(t, header, with(claims, "iat", now+6), ours), token.ErrInvalid},
		"another issuer":       {forge(t, header, with(claims, "iss", "evil"), ours), token.ErrInvalid},
		"issuer left out":      {forge(t, header, with(claims, "iss", nil), ours), token.ErrInvalid},
		"another audience":     {forge(t, header, with(claims, "aud", []string{"bank", "shops"}), ours), token.ErrInvalid},
		"audience left out":    {forge(t, header, with(claims, "aud", nil), ours), token.ErrInvalid},
		"no user":              {forge(t, header, with(claims, "sub", nil), ours), token.ErrInvalid},
		"no session":           {forge(t, header, with(claims, "sid", ""), ours), token.ErrInvalid},
	} {
		p, err := b.Verify(t.Context(), tc.token)
		require.ErrorIs(t, err, tc.want, name)
		require.ErrorIs(t, err, leveret.Unauthenticated, name)
		require.ErrorIs(t, leveret.DecodeProblem(leveret.EncodeProblem(err)), tc.want, name)
		require.Zero(t, p, name)
		for _, part := range parts {
			require.NotContains(t, err.Error(), part, name)
		}
	}
	for name, fine := range map[string]string{
		"clock a little ahead": forge(t, header, with(claims, "nbf", now+5), ours),
		"several audiences":    forge(t, header, with(claims, "aud", []string{"bank", "shop"}), ours),
	} {
		_, err := b.Verify(t.Context(), fine)
		require.NoError(t, err, name)
	}
	require.Equal(t, 1, b.fetches, "all of these together cost no fetch but the first")
}

// TestUnknownKeys floods the verifier with keys that do not exist, from many goroutines.
func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	flood := func() {
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				_, err := b.Verify(t.Context(), sign(t, fmt.Sprint("forged", i), b.private, b.claims()))
				if !errors.Is(err, token.ErrInvalid) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
	}
	for n := range 3 {
		flood()
		require.Equal(t, n+1, b.fetches)
		b.now = b.now.Add(5 * time.Second)
	}
	fresh := b.publish(t, "k2")
	_, err := b.Verify(t.Context(), sign(t, "k2", fresh, b.claims()))
	require.NoError(t, err, "a new key is found all the same")
	require.Equal(t, 4, b.fetches)
	b.keys = b.keys[1:]
	b.now = b.now.Add(5 * time.Second)
	flood()
	_, err = b.Verify(t.Context(), sign(t, "k1", b.private, b.claims()))
	require.ErrorIs(t, err, token.ErrInvalid, "a key that is not published any more is forgotten")
}

func TestAuthIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.away = true
	signed := sign(t, "k1", b.private, b.claims())
	_, err := b.Verify(t.Context(), signed)
	require.ErrorIs(t, err, token.ErrNoKeys)
	require.ErrorIs(t, err, leveret.Unavailable)
	require.Equal(t, 5*time.Second, leveret.RetryDelay(err))
	b.now = b.now.Add(2 * time.Second)
	_, err = b.Verify(t.Context(), signed)
	require.ErrorIs(t, leveret.DecodeProblem(leveret.EncodeProblem(err)), token.ErrNoKeys)
	require.Equal(t, 3*time.Second, leveret.RetryDelay(err))
	require.Equal(t, 1, b.fetches)

	b.away = false
	b.now = b.now.Add(3 * time.Second)
	_, err = b.Verify(t.Context(), signed)
	require.NoError(t, err)

	b.away = true
	b.now = b.now.Add(time.Minute)
	_, err = b.Verify(t.Context(), signed)
	require.NoError(t, err)
	_, err = b.Verify(t.Context(), sign(t, "k2", b.private, b.claims()))
	require.ErrorIs(t, err, token.ErrNoKeys, "nothing is known about the token")
	b.now = b.now.Add(time.Hour)
	_, err = b.Verify(t.Context(), sign(t, "k1", b.private, b.claims()))
	require.ErrorIs(t, err, token.ErrNoKeys, "a key that has expired is not used")
	b.away = false
	b.keys = nil
	b.now = b.now.Add(time.Minute)
	_, err = b.Verify(t.Context(), sign(t, "k1", b.private, b.claims()))
	require.ErrorIs(t, err, token.ErrNoKeys)
}

// TestImpatient: a caller that gives up neither ends the fetch nor waits for that of another.
func TestImpatient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun, release := make(chan struct{}), make(chan struct{})
	v, err := token.NewVerifier(token.VerifierConfig{
		Now: func() time.Time { return b.now },
		Keys: func(ctx context.Context) ([]queues.PublicKey, error) {
			close(begun)
			<-release
			return b.keys, ctx.Err()
		},
	})
	require.NoError(t, err)
	signed := sign(t, "k1", b.private, b.claims())
	var first error
	var wg sync.WaitGroup
	wg.Go(func() { _, first = v.Verify(ctx, signed) })
	<-begun
	cancel()
	_, err = v.Verify(ctx, signed)
	require.ErrorIs(t, err, leveret.Canceled)
	close(release)
	wg.Wait()
	require.NoError(t, first)
}

func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int64
		var away atomic.Bool
		v, err := token.NewVerifier(token.VerifierConfig{Keys: func(context.Context) ([]queues.PublicKey, error) {
			fetches.Add(1)
			if away.Load() {
				return nil, errors.New("away")
			}
			return []queues.PublicKey{{KeyID: "a kind that is not known"}}, nil
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := v.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		require.EqualValues(t, 1, fetches.Load(), "at once")
		time.Sleep(10*time.Minute + time.Second)
		require.EqualValues(t, 3, fetches.Load())
		away.Store(true)
		time.Sleep(5 * time.Minute)
		require.EqualValues(t, 4, fetches.Load())
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 6, fetches.Load(), "more often while auth is away")
		cancel()
		wg.Wait()
	})
}

func TestFromAuth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var caller leverettest.StubCaller
	leverettest.Answer(&caller, queues.ListKeys, func(context.Context, queues.ListKeysRequest) (queues.ListKeysReply, error) {
		return queues.ListKeysReply{Keys: b.keys}, nil
	})
	keys, err := token.FromAuth(&caller)(t.Context())
	require.NoError(t, err)
	require.Equal(t, b.keys, keys)
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"Bearer abc": "abc", "bearer  abc ": "abc", "": "", "Bearer": "", "Bearer ": "", "Basic abc": "", "abc": "",
	} {
		got, err := token.Bearer(value)
		require.Equal(t, want, got, "%q", value)
		if want == "" {
			require.ErrorIs(t, err, token.ErrMissing)
		}
	}
}

func TestWrongConfig(t *testing.T) {
	t.Parallel()
	_, err := token.NewVerifier(token.VerifierConfig{})
	require.ErrorContains(t, err, "Keys is nil")
	_, err = token.NewVerifier(token.VerifierConfig{Keys: token.FromAuth(nil), Leeway: -time.Second})
	require.ErrorContains(t, err, "Leeway is -1s")
}

// FuzzVerify: whatever the token, Verify returns without an effect.
func FuzzVerify(f *testing.F) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(f, err)
	now := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	v, err := token.NewVerifier(token.VerifierConfig{
		Now: func() time.Time { return now },
		Keys: func(context.Context) ([]queues.PublicKey, error) {
			return []queues.PublicKey{queues.NewPublicKey("k1", public, now.Add(time.Hour))}, nil
		},
	})
	require.NoError(f, err)
	signed, err := token.Sign("k1", private, token.Claims{
		Issuer: "auth", Audience: "shop", UserID: "u1", SessionID: "s1", ID: "t1", IssuedAt: now, ExpiresAt: now.Add(time.Minute),
	})
	require.NoError(f, err)
	f.Add(string(signed))
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := v.Verify(t.Context(), text)
		if (err == nil) != (p != token.Principal{}) || err == nil && p.UserID != "u1" {
			t.Fatalf("%q: %v, %v", text, p, err)
		}
	})
}
