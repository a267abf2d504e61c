package httprpc

import (
	"net/url"
	"strings"
)

// escape escapes a segment of a path. Dots alone would be taken for the folder or the one above.
func escape(segment string) string {
	if segment == "." || segment == ".." {
		return strings.ReplaceAll(segment, ".", "%2E")
	}
	return url.PathEscape(segment)
}
