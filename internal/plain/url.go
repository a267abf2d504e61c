package plain

import (
	"net/url"
	"strings"
)

// NotURL is what [URL] returns for what is not a URL.
const NotURL = "(not a URL)"

// URL hides what may be a password in a URL: the one of its user, the query and the fragment. If raw is not a URL, or may
// contain a password in the wrong place, as several URLs in one do, it hides all of it. An empty text stays empty.
func URL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil {
		return NotURL
	}
	bare := *u
	bare.User = nil
	if strings.Contains(bare.String(), "@") {
		return NotURL
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx" // as Redacted does it to passwords
	}
	if u.Fragment != "" {
		u.Fragment, u.RawFragment = "xxxxx", ""
	}
	return Text(u.Redacted())
}
