package queues_test

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

const userID = "0197a6c4-3c21-7a5e-b1d0-7e4f2a9c8d10"

func TestEmails(t *testing.T) {
	t.Parallel()
	for email, ok := range map[string]bool{
		"ada@example.com":                  true,
		" Ada.Lovelace+tea@Example.COM ":   true,
		"ädä@exämple.com":                  true,
		"a@" + strings.Repeat("x", 252):    true,
		"a@" + strings.Repeat("x", 253):    false,
		"":                                 false,
		"  ":                               false,
		"ada":                              false,
		"ada@":                             false,
		"@example.com":                     false,
		"ada@example.com, bob@example.com": false,
		"Ada <ada@example.com>":            false,
		"<ada@example.com>":                false,
		"ada@example.com (Ada)":            false,
		"ada@example.com\r\nBcc: bob@example.com": false,
		"ada@example.com\u200b":                   false, // looks like another one
		"a\u00adda@example.com":                   false,
		"a\u202eda@example.com":                   false,
	} {
		err := queues.LogInRequest{Email: email, Password: "secret"}.Validate()
		require.Equal(t, ok, err == nil, "%q: %v", email, err)
		if !ok {
			require.ErrorIs(t, err, leveret.InvalidArgument)
			require.ErrorContains(t, err, "email: ")
		}
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	for password, want := range map[string]string{
		"":                            "password: is required",
		"sevénth":                     "password: must be at least 8 characters long",
		"eightchr":                    "",
		strings.Repeat("ä", 256):      "",
		strings.Repeat("planted", 37): "password: must be at most 256 characters long",
	} {
		for _, r := range []interface{ Validate() error }{
			queues.SetPasswordRequest{UserID: userID, Password: leveret.Secret(password)},
			queues.RegisterUserRequest{UserID: userID, Email: "a@b.c", Name: "Ada", Password: leveret.Secret(password)},
		} {
			err := r.Validate()
			if want == "" {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "planted")
			require.NotContains(t, fmt.Sprintf("%+v", r), "planted")
		}
	}
}

func TestUserIDs(t *testing.T) {
	t.Parallel()
	require.NoError(t, queues.CheckPasswordRequest{Password: "x"}.Validate(), "nobody")
	require.ErrorContains(t, queues.CheckPasswordRequest{UserID: "7", Password: "x"}.Validate(), "user_id: ")
	require.ErrorContains(t, queues.SetPasswordRequest{Password: "eightchr"}.Validate(), "user_id: is required")
	require.ErrorContains(t, queues.ShowUserRequest{UserID: strings.ToUpper(userID)}.Validate(), "user_id: ")
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	k := queues.NewPublicKey("k1", public, time.Now())
	back, err := k.Ed25519()
	require.NoError(t, err)
	require.Equal(t, public, back)
	require.NoError(t, queues.ListKeysReply{Keys: []queues.PublicKey{k}}.Validate())

	short := k
	short.X = short.X[:40]
	require.ErrorContains(t, queues.ListKeysReply{Keys: []queues.PublicKey{k, short}}.Validate(), "keys[1].x: ")
	other := queues.PublicKey{KeyID: "k2", Type: "EC", Curve: "P-256", X: "x", NotAfter: time.Now()}
	require.NoError(t, queues.ListKeysReply{Keys: []queues.PublicKey{other}}.Validate(), "a kind that may come")
	_, err = other.Ed25519()
	require.Error(t, err)
	require.ErrorContains(t, queues.ListKeysReply{Keys: make([]queues.PublicKey, 101)}.Validate(), "keys: ")
}
