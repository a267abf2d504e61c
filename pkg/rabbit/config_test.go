package rabbit

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]struct{ host, shown string }{
		"amqp://localhost":            {"localhost:5672", "amqp://guest@localhost:5672"},
		"amqps://localhost":           {"localhost:5671", "amqps://guest@localhost:5671"},
		"amqp://u:p@h:1/v":            {"h:1", "amqp://u@h:1/v"},
		"amqp://u:p%40%2F%3A@h:1/%2F": {"h:1", "amqp://u@h:1"},
		"amqp://u:p@s@h/a%40b":        {"h:5672", "amqp://u@h:5672/a@b"},
		"amqp://h/a%2Fb":              {"h:5672", "amqp://guest@h:5672/a%2Fb"},
		"amqp://h/":                   {"h:5672", "amqp://guest@h:5672"},
		"amqp://u:p@[::1]:7/v?auth_mechanism=external": {"[::1]:7", "amqp://u@[::1]:7/v"},
	} {
		a, err := parseAddress(raw, nil)
		require.NoError(t, err, raw)
		plain, err := url.Parse(a.plain)
		require.NoError(t, err, raw)
		require.Equal(t, "amqp", plain.Scheme, raw)
		require.Equal(t, want.host, plain.Host, raw)
		require.Nil(t, plain.User, raw)
		require.Equal(t, strings.HasPrefix(raw, "amqps:"), a.tls != nil, raw)
		require.Equal(t, want.shown, a.shown, raw)
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	t.Parallel()
	for raw, says := range map[string]string{
		"":                                  "scheme",
		"localhost:5672":                    "scheme",
		"http://u:hush@h":                   "scheme",
		"amqp://":                           "host is missing",
		"amqp://u:hush@":                    "host is missing",
		"amqp://u:hu/sh@h/v":                "percent-encoded",
		"amqp://u:5672/hush@h":              "percent-encoded",
		"amqp://u:5672?hush@h":              "percent-encoded",
		"amqp://u:5672#hush@h":              "percent-encoded",
		"amqp://u:hu%sh@h":                  "%25",
		"amqp://u:hush@h:99999/":            "port",
		"amqp://u:hush@h:0/":                "port",
		"amqp://u:hush@h:1:2/":              "port",
		"amqp://u:hush@::1/":                "port",
		"amqp://u:hush@h/a b":               "AMQP URL",
		"amqp://u:hush@h?heartbeat=never":   "AMQP URL",
		"amqp://u:hush@h?auth_mechanism=ss": "auth_mechanism",
		"amqps://u:hush@h?cacertfile=/x":    "certificates",
	} {
		_, err := Config{URLs: []string{"amqp://localhost", raw}}.withDefaults().addresses()
		require.ErrorIs(t, err, ErrConfig, raw)
		require.NotErrorIs(t, err, ErrInvalid, raw)
		require.ErrorContains(t, err, "URLs[1]", raw)
		require.ErrorContains(t, err, says, raw)
		require.NotContains(t, err.Error(), "hush", raw)
	}
	for raw, shown := range map[string]string{
		"amqp://u:hush@h:0/v": "URLs[0] amqp://u:xxxxx@h:0/v: there is no such port", "http://h/v": "URLs[0] http://h/v: the scheme",
		"amqp://u:hu/sh@h/v": "URLs[0] (not a URL): not a URL", "amqp://u:hush": "URLs[0] (not a URL): not a URL",
	} {
		_, err := Config{URLs: []string{raw}}.withDefaults().addresses()
		require.ErrorContains(t, err, shown)
	}
	_, err := Config{Heartbeat: time.Millisecond}.withDefaults().addresses()
	require.ErrorContains(t, err, "Heartbeat")
	_, err = Config{DialTimeout: -1}.withDefaults().addresses()
	require.ErrorContains(t, err, "DialTimeout")
	_, err = Config{Backoff: NewBackoff(-1)}.withDefaults().addresses()
	require.ErrorContains(t, err, "backoff")
}

// Whatever stands where a password stands, in a URL that was put together well or badly, is shown to nobody.
func FuzzNoPasswordIsShown(f *testing.F) {
	f.Add("user", "pa/ss", "host:5672", "vhost")
	f.Add("user", "p@ss?x#y", "host", "")
	f.Add("user", "1/2", "host", "/")
	f.Add("", "%zz", "[::1]:5672", "a?b")
	f.Fuzz(func(t *testing.T, user, password, host, vhost string) {
		const mark = "S3CR3T"
		secret := password + mark
		for _, s := range []string{user, host, vhost} {
			if strings.Contains(strings.ToLower(s), "s3c") {
				return
			}
		}
		proper := url.URL{Scheme: "amqp", User: url.UserPassword(user, secret), Host: host, Path: "/" + vhost}
		for _, raw := range []string{
			proper.String(),
			"amqp://" + user + ":" + secret + "@" + host + "/" + vhost,
			"amqp:" + user + ":" + secret + "@" + host,
			user + ":" + secret + "@" + host,
		} {
			a, err := parseAddress(raw, nil)
			shown := a.shown
			if a.tls != nil {
				shown += a.tls.ServerName
			}
			if err != nil {
				_, err = Config{URLs: []string{raw}}.withDefaults().addresses()
				shown += err.Error()
			}
			if strings.Contains(strings.ToUpper(shown), mark) {
				t.Errorf("%q is shown as %q, %v", raw, a.shown, err)
			}
		}
	})
}
