package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/token"
	"github.com/leveretmq/leveret/queues"
)

// forge makes a token of any header and claims.
func forge(t *testing.T, header, claims map[string]any, sign func(signed string) []byte) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	h, err := json.Marshal(header)
	require.NoError(t, err)
	c, err := json.Marshal(claims)
	require.NoError(t, err)
	signed := encode(h) + "." + encode(c)
	return signed + "." + encode(sign(signed))
}

// What is no valid token gets nobody in: not at any route, and whatever else the request holds.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	_, foreign, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	claims := map[string]any{
		"iss": token.DefaultIssuer, "aud": token.DefaultAudience, "sub": ada.userID, "sid": uuid.NewString(), "jti": uuid.NewString(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	public, ok := s.key.Public().(ed25519.PublicKey)
	require.True(t, ok)
	hmacByPublicKey := func(signed string) []byte {
		mac := hmac.New(sha256.New, public)
		mac.Write([]byte(signed))
		return mac.Sum(nil)
	}
	byKey := func(signed string) []byte { return ed25519.Sign(s.key, []byte(signed)) }
	header := func(alg, typ string) map[string]any { return map[string]any{"alg": alg, "typ": typ, "kid": keyID} }
	change := func(f func(*token.Claims)) string { return "Bearer " + s.sign(t, keyID, s.key, ada.userID, f) }
	parts := strings.Split(ada.AccessToken, ".")

	get[gateway.User](t, s, 200, call{path: "/me", header: http.Header{"Authorization": {change(nil)}}})
	for _, scheme := range []string{"bearer ", "BEARER ", "Bearer   "} {
		get[gateway.User](t, s, 200, call{path: "/me", header: http.Header{"Authorization": {scheme + ada.AccessToken}}})
	}
	before := s.asked()
	for name, tc := range map[string]struct {
		authorization []string
		status        int
		reason        string
	}{
		"missing":        {nil, 401, "token_missing"},
		"empty":          {[]string{""}, 401, "token_missing"},
		"no token":       {[]string{"Bearer "}, 401, "token_missing"},
		"no scheme":      {[]string{ada.AccessToken}, 401, "token_missing"},
		"another scheme": {[]string{"Basic YWRhOnB3"}, 401, "token_missing"},
		"no JWT":         {[]string{"Bearer abc"}, 401, "token_invalid"},
		"two dots":       {[]string{"Bearer .."}, 401, "token_invalid"},
		"not ASCII":      {[]string{"Bearer \xff\xfe"}, 401, "token_invalid"},
		"two tokens":     {[]string{"Bearer " + ada.AccessToken + " " + ada.AccessToken}, 401, "token_invalid"},
		"in one header":  {[]string{"Bearer " + ada.AccessToken + ", Bearer " + ada.AccessToken}, 401, "token_invalid"},
		"two headers":    {[]string{"Bearer " + ada.AccessToken, "Bearer " + ada.AccessToken}, 400, ""},
		"10 KB":          {[]string{"Bearer " + strings.Repeat("x", 10<<10)}, 401, "token_invalid"},
		"10 KB, valid":   {[]string{change(func(c *token.Claims) { c.ID = strings.Repeat("x", 10<<10) })}, 401, "token_invalid"},
		"alg none":       {[]string{"Bearer " + forge(t, header("none", "at+jwt"), claims, func(string) []byte { return nil })}, 401, "token_invalid"},
		"HS256":          {[]string{"Bearer " + forge(t, header("HS256", "at+jwt"), claims, hmacByPublicKey)}, 401, "token_invalid"},
		"HS256 as EdDSA": {[]string{"Bearer " + forge(t, header("EdDSA", "at+jwt"), claims, hmacByPublicKey)}, 401, "token_invalid"},
		"another type":   {[]string{"Bearer " + forge(t, header("EdDSA", "JWT"), claims, byKey)}, 401, "token_invalid"},
		"foreign key":    {[]string{"Bearer " + s.sign(t, "foreign", foreign, ada.userID, nil)}, 401, "token_invalid"},
		"foreign, known": {[]string{"Bearer " + s.sign(t, keyID, foreign, ada.userID, nil)}, 401, "token_invalid"},
		"audience":       {[]string{change(func(c *token.Claims) { c.Audience = "bank" })}, 401, "token_invalid"},
		"issuer":         {[]string{change(func(c *token.Claims) { c.Issuer = "me" })}, 401, "token_invalid"},
		"future":         {[]string{change(func(c *token.Claims) { c.IssuedAt = time.Now().Add(time.Hour) })}, 401, "token_invalid"},
		"expired":        {[]string{change(func(c *token.Claims) { c.ExpiresAt = time.Now().Add(-time.Second) })}, 401, "token_expired"},
		"tampered":       {[]string{"Bearer " + parts[0] + "." + parts[1][:len(parts[1])-2] + "fQ." + parts[2]}, 401, "token_invalid"},
		"no signature":   {[]string{"Bearer " + parts[0] + "." + parts[1] + "."}, 401, "token_invalid"},
		"refresh token":  {[]string{"Bearer " + ada.RefreshToken}, 401, "token_invalid"},
	} {
		for _, c := range []call{{path: "/me"}, {path: "/orders", body: anOrder(1)}} {
			c.header = http.Header{"Authorization": tc.authorization}
			answer, content := s.do(t, c)
			require.Equal(t, tc.status, answer.StatusCode, "%s: %s", name, content)
			var p problem
			require.NoError(t, json.Unmarshal(content, &p))
			require.Equal(t, tc.status, p.Status, name)
			require.Equal(t, tc.reason, p.Reason, "%s: %s", name, content)
			if tc.status == 401 {
				challenge := "Bearer"
				if tc.reason != "token_missing" {
					challenge = `Bearer error="invalid_token"`
				}
				require.Equal(t, challenge, answer.Header.Get("WWW-Authenticate"), name)
			}
		}
	}
	require.Equal(t, before, s.asked(), "nothing has left the gateway")
	s.requireNoSecrets(t, ada.AccessToken, ada.RefreshToken, parts[2])
}

// Every operation that the document protects is protected, before anything else of the request is looked at.
func TestProtected(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	_, document := s.do(t, call{path: "/openapi.json"})
	var described struct {
		Paths map[string]map[string]struct{ Security []map[string][]string }
	}
	require.NoError(t, json.Unmarshal(document, &described))
	open := 0
	for path, operations := range described.Paths {
		for method, operation := range operations {
			if len(operation.Security) == 0 {
				open++
				continue
			}
			c := call{method: strings.ToUpper(method), path: strings.ReplaceAll(path, "{order_id}", uuid.NewString())}
			if method == "post" {
				c.body = `{"nonsense": true}`
			}
			require.Equal(t, "token_missing", get[problem](t, s, 401, c).Reason, path)
		}
	}
	require.Equal(t, 4, open, "register, log in, refresh and log out")
	require.Zero(t, s.asked())
}

// Another customer's order does not exist: neither to be seen nor to be cancelled.
func TestAnothersOrder(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada, eve := s.join(t, "ada"), s.join(t, "eve")
	for _, stored := range []bool{false, true} {
		placed := get[gateway.Accepted](t, s, 202, call{path: "/orders", as: ada, body: anOrder(1)})
		if stored {
			s.deliver(t)
		}
		unknown := "/orders/" + uuid.NewString()
		for _, suffix := range []string{"", "/cancel"} {
			method := http.MethodGet
			if suffix != "" {
				method = http.MethodPost
			}
			theirs := get[problem](t, s, 404, call{method: method, path: placed.Status + suffix, as: eve})
			none := get[problem](t, s, 404, call{method: method, path: unknown + suffix, as: eve})
			require.Equal(t, none, theirs, "the answers are the same")
		}
		s.deliver(t)
		require.Equal(t, "placed", get[gateway.Order](t, s, 200, call{path: placed.Status, as: ada}).State)
	}
	require.Empty(t, get[gateway.Orders](t, s, 200, call{path: "/orders", as: eve}).Orders)
	cursor := get[gateway.Orders](t, s, 200, call{path: "/orders?limit=1", as: ada}).NextCursor
	require.NotEmpty(t, cursor)
	require.Empty(t, get[gateway.Orders](t, s, 200, call{path: "/orders?cursor=" + cursor, as: eve}).Orders, "nor by another's cursor")
}

// A refresh token is good for one use; after the end of its session it is refused.
func TestRefresh(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	refresh := func(status int, token, key string) problemOrTokens {
		return get[problemOrTokens](t, s, status, call{path: "/refresh", key: key, body: map[string]string{"refresh_token": token}})
	}
	first := refresh(200, ada.RefreshToken, "k")
	require.Equal(t, first.RefreshToken, refresh(200, ada.RefreshToken, "k").RefreshToken, "the same request gets the same token")
	require.Equal(t, "token_invalid", refresh(401, ada.RefreshToken, "another").Reason)
	require.Equal(t, "token_invalid", refresh(401, first.RefreshToken, "").Reason, "the token was used twice, and so the session has ended")

	ada = s.logIn(t, ada.email)
	for range 2 {
		answer, _ := s.do(t, call{path: "/log-out", body: map[string]string{"refresh_token": ada.RefreshToken}})
		require.Equal(t, 204, answer.StatusCode)
	}
	require.Equal(t, "token_invalid", refresh(401, ada.RefreshToken, "").Reason)
	require.Equal(t, "token_invalid", refresh(401, ada.AccessToken[:200], "").Reason, "an access token is no refresh token")
	require.Equal(t, "refresh_token", refresh(400, strings.Repeat("x", 257), "").Errors[0].Field)
	s.requireNoSecrets(t, ada.RefreshToken, first.RefreshToken)
}

type problemOrTokens struct {
	problem
	customer
}

// What fails inside is nothing to customers, but that it failed, and when to try again.
func TestFailuresStayInside(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	ada := s.join(t, "ada")
	for _, tc := range []struct {
		err    error
		status int
		code   string
		reason string
	}{
		{leveret.Errorf(leveret.Unavailable, "dial tcp 10.1.2.3:8081"), 503, "unavailable", ""},
		{leveret.ErrNotConnected, 503, "unavailable", ""},
		{leveret.Errorf(leveret.DeadlineExceeded, "10.1.2.3: %w", leveret.ErrNotConnected), 503, "unavailable", ""},
		{leveret.Errorf(leveret.DeadlineExceeded, "10.1.2.3: %w", leveret.ErrOutcomeUnknown), 504, "deadline_exceeded", "outcome_unknown"},
		{leveret.Errorf(leveret.Internal, "10.1.2.3"), 500, "internal", ""},
		{leveret.Errorf(leveret.PermissionDenied, "10.1.2.3 takes no gateway"), 500, "internal", ""},
		{leveret.NewError(leveret.DataLoss, "shredded", "10.1.2.3"), 500, "data_loss", "shredded"},
		// Not the answers of the other side, but of a proxy before it, and of the gateway's own client.
		{fmt.Errorf("10.1.2.3 wants a password: %w", leveret.Unauthenticated), 500, "internal", ""},
		{fmt.Errorf("10.1.2.3: %w", leveret.ErrUndeclared), 500, "internal", ""},
		{leveret.RetryAfter(3*time.Second, leveret.Errorf(leveret.Unavailable, "10.1.2.3")), 503, "unavailable", ""},
		{leveret.NewError(leveret.Unavailable, leveret.ReasonOutcomeUnknown, "10.1.2.3"), 504, "unavailable", "outcome_unknown"},
	} {
		leverettest.Answer(s.users, queues.ShowUser, func(context.Context, queues.ShowUserRequest) (queues.ShowUserReply, error) {
			return queues.ShowUserReply{}, tc.err
		})
		answer, content := s.do(t, call{path: "/me", as: ada})
		require.Equal(t, tc.status, answer.StatusCode, "%v: %s", tc.err, content)
		require.NotContains(t, string(content), "10.1.2.3")
		var p problem
		require.NoError(t, json.Unmarshal(content, &p))
		require.Equal(t, tc.code, p.Code)
		require.Equal(t, tc.reason, p.Reason)
		require.NotEmpty(t, p.Detail)
		require.Equal(t, tc.status == 503, answer.Header.Get("Retry-After") != "")
		if after := leveret.RetryDelay(tc.err); after > 0 {
			require.Equal(t, "3", answer.Header.Get("Retry-After"))
		}
	}
	require.Contains(t, s.seen.String(), "dial tcp 10.1.2.3:8081", "it is logged")
}

// Where the keys cannot be fetched, nothing is known about a token: neither that it is right, nor that it is wrong.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	away := &leverettest.StubCaller{}
	leverettest.Answer(away, queues.ListKeys, func(context.Context, queues.ListKeysRequest) (queues.ListKeysReply, error) {
		return queues.ListKeysReply{}, leveret.Errorf(leveret.Unavailable, "dial tcp 10.1.2.3:8085")
	})
	remembered, err := gateway.OpenStore(t.Context(), shoptest.Source(t, "gateway"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, remembered.Close()) })
	log := &testmain.Output{}
	edge, err := gateway.New(remembered, &leverettest.Recorder{}, gateway.Callers{Order: away, User: away, Auth: away},
		gateway.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	answer := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/me", nil)
	r.Header.Set("Authorization", "Bearer "+(&shop{}).sign(t, "k", key, "ada", nil))
	edge.ServeHTTP(answer, r)
	require.Equal(t, 503, answer.Code)
	require.Equal(t, "5", answer.Header().Get("Retry-After"))
	require.Contains(t, answer.Body.String(), `"reason":"keys_unavailable"`)
	require.NotContains(t, answer.Body.String(), "10.1.2.3")
	require.Contains(t, log.String(), "10.1.2.3")
}
