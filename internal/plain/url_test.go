package plain_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/plain"
)

func TestURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                                      "",
		"amqp://h/":                             "amqp://h/",
		"amqp://u@h/":                           "amqp://u@h/",
		"amqp://u:hunter2@h/v":                  "amqp://u:xxxxx@h/v",
		"amqp://u:hunter%32@h/":                 "amqp://u:xxxxx@h/",
		"amqp://u:hunt@er2@h/":                  "amqp://u:xxxxx@h/",
		"amqp://u:hunt:er2@h/":                  "amqp://u:xxxxx@h/",
		"amqp://u:%68%40nter2@h/":               "amqp://u:xxxxx@h/",
		"amqp://u:@h/":                          "amqp://u:xxxxx@h/",
		"https://h/v?password=hunter2&x":        "https://h/v?xxxxx",
		"https://h/v#hunter2%40":                "https://h/v#xxxxx",
		"https://u:hunter2@h?hunter2#hunter2":   "https://u:xxxxx@h?xxxxx#xxxxx",
		"u:hunter2@h":                           plain.NotURL,
		"amqp:u:hunter2@h/":                     plain.NotURL,
		"amqp://u:12#hunter2@h/":                plain.NotURL,
		"amqp://u:12/hunter2@h/":                plain.NotURL,
		"amqp://u:12?hunter2@h/":                plain.NotURL,
		"amqp://u:hunter2@[::1/":                plain.NotURL,
		"amqp://u:hunter2%zz@h/":                plain.NotURL,
		"amqp://u:hunter2":                      plain.NotURL,
		"amqp://h/ %zz":                         plain.NotURL,
		"amqp://u:hunter2@h,amqp://v:hunter2@i": plain.NotURL,
		"amqp://h,amqp://v:hunter2@i/":          plain.NotURL,
		"sqlite:/var/lib/x/order.db":            "sqlite:/var/lib/x/order.db",
		"amqp://h\u202e/":                       "amqp://h%E2%80%AE/",
	} {
		require.Equal(t, want, plain.URL(raw), raw)
	}
}

// Wherever the password ends up in what is not quite a URL, it is not shown.
func FuzzURL(f *testing.F) {
	for _, around := range []string{
		"amqp://u:%s@h/", "u:%s@h", ":%s@", "//%s@", "amqp://u:%s@h:port", "amqps://a:%s@h/v,amqp://b:%s@i/v", "http://u:%s@[::1",
		"http://h/?key=%s", "http://h/#%s", "http://u:x@%s@h",
	} {
		for _, password := range []string{"hunter2", "hunt@er2", "hunt/er2", "hunt%er2", "hunt:er2", "hunt?er2", "hunt#er2", "1234?56", "hunt%40er2"} {
			f.Add(around, password)
		}
	}
	f.Fuzz(func(t *testing.T, around, password string) {
		before, after, found := strings.Cut(around, "%s")
		if !found || len(password) < 6 || !strings.HasPrefix(after, "@") && !strings.ContainsAny(before, "?#") {
			return // no password
		}
		if strings.HasSuffix(before, "//") || strings.Contains(before+after, password) {
			return // a user's name, or a password that is elsewhere, too
		}
		raw := before + password + after
		shown := plain.URL(raw)
		if u, err := url.Parse(raw); err == nil && u.User != nil && strings.Contains(u.User.Username(), password) {
			return // it was the name of the user
		}
		require.NotContains(t, shown, password, raw)
		require.NotContains(t, shown, url.QueryEscape(password), raw)
	})
}
