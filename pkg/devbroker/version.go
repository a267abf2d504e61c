package devbroker

import (
	"strconv"
	"strings"
)

// tooOld says whether a version is known to be below 3.10, the first that leveret
// works with. What cannot be read is not.
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
