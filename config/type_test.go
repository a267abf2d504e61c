package config_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                           "",
		"amqp://h/":                  "amqp://h/",
		"amqp://u:p@h/":              "amqp://u:xxxxx@h/",
		"amqp://u:p@s@h/":            "amqp://u:xxxxx@h/",
		"amqp://u:%70%40ss@h/":       "amqp://u:xxxxx@h/",
		"https://h/v?password=p&x":   "https://h/v?xxxxx",
		"https://h/v#p%40":           "https://h/v#xxxxx",
		"u:p@h":                      "(not a URL)",
		"amqp://u:p#s@h/":            "(not a URL)",
		"amqp://u:12/s@h/":           "(not a URL)",
		"amqp:u:p@h":                 "(not a URL)",
		"amqp://h/ %zz":              "(not a URL)",
		"sqlite:/var/lib/x/order.db": "sqlite:/var/lib/x/order.db",
	} {
		require.Equal(t, want, config.RedactURL(raw), raw)
	}
}

// Whatever is given as the broker's URL, its password never appears, neither in the shown value nor in an error.
func FuzzNoPasswordIsShown(f *testing.F) {
	for _, seed := range []string{"amqp://u:%s@h/", "u:%s@h", ":%s@", "amqp://u:%s@h:port", "amqps://a:%s@h/v,amqp://b:%s@i/v", "http://u:%s@[::1"} {
		f.Add(seed, "hunter2")
	}
	f.Fuzz(func(t *testing.T, around, password string) {
		before, after, found := strings.Cut(around, "%s@")
		if !found || !strings.HasSuffix(before, ":") || len(password) < 6 {
			t.Skip("no password")
		}
		raw := before + password + "@" + after
		escaped := url.QueryEscape(password)
		if strings.Contains(strings.ReplaceAll(raw, ":"+password+"@", ""), password) || strings.ContainsAny(password, "@/:,") {
			t.Skip("a password that is elsewhere too")
		}
		shown := config.RedactURL(raw)
		require.NotContains(t, shown, password)
		_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{"broker.url": raw}})
		if err != nil {
			require.NotContains(t, err.Error(), password)
			require.NotContains(t, err.Error(), escaped)
		}
	})
}
