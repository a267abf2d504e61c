package auth

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

func TestUse(t *testing.T) {
	t.Parallel()
	const grace = time.Minute
	fresh := refreshToken{expiresAt: noon.Add(time.Hour)}
	used, nameless := fresh, fresh
	used.usedAt, used.usedBy = noon, "m1"
	nameless.usedAt = noon
	superseded, ended, endedUsed := used, fresh, used
	superseded.superseded, ended.ended, endedUsed.ended = true, true, true
	for _, tc := range []struct {
		name    string
		token   refreshToken
		message string
		after   time.Duration
		want    use
	}{
		{"fresh", fresh, "m1", 0, useRotate},
		{"fresh, without an id", fresh, "", 0, useRotate},
		{"just before it expires", fresh, "m1", time.Hour - 1, useRotate},
		{"expired", fresh, "m1", time.Hour, useExpired},
		{"repeated", used, "m1", time.Second, useRepeat},
		{"repeated too late", used, "m1", grace, useStolen},
		{"repeated, though the answer arrived", superseded, "m1", time.Second, useInvalid},
		{"used by another message", used, "m2", time.Second, useStolen},
		{"used by another message, later", superseded, "m2", time.Second, useStolen},
		{"used by another message, expired", used, "m2", 2 * time.Hour, useStolen},
		{"used again without an id", used, "", time.Second, useStolen},
		{"both without an id", nameless, "", time.Second, useStolen},
		{"ended", ended, "m1", 0, useInvalid},
		{"ended, repeated", endedUsed, "m1", time.Second, useInvalid},
		{"ended, used by another", endedUsed, "m2", time.Second, useInvalid},
	} {
		require.Equal(t, tc.want, tc.token.use(tc.message, noon.Add(tc.after), grace), tc.name)
	}
}

func TestRefreshTokens(t *testing.T) {
	t.Parallel()
	first, salt := newRefreshToken(), random(32)
	require.NotEqual(t, first, newRefreshToken())
	next := nextRefreshToken(first, salt)
	require.Equal(t, next, nextRefreshToken(first, salt))
	require.NotEqual(t, next, nextRefreshToken(first, random(32)))
	require.NotEqual(t, next, nextRefreshToken(newRefreshToken(), salt))
	for _, token := range []leveret.Secret{first, next} {
		raw, err := base64.RawURLEncoding.DecodeString(string(token))
		require.NoError(t, err)
		require.Len(t, raw, 32)
		require.Len(t, hashToken(token), 32)
	}
}
