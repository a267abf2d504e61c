package devbroker

import (
	"strconv"
	"strings"
)

// tooOld reports whether a version is below 3.10, the first that Leveret works with. It
// returns false if the version cannot be parsed.
func tooOld(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	if err != nil {
		return false
	}
	b, err := strconv.Atoi(minor)
	return a < 3 || a == 3 && err == nil && b < 10
}
