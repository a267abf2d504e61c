package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A check of a number writes all its digits: a billion for 1e999999999. So numbers are checked as a shorter one that is
// on the same side of every bound that a schema may have, and a whole number if they are.
const (
	// maxDigits is how many digits of a number count.
	maxDigits = 60
	// maxExponent is larger than that of any number that Go's types hold, which end at 1.8e308 and 4.9e-324.
	maxExponent = 400
)

// shorten returns a value in which no number has many digits, and whether that is another. It leaves v as it is.
func shorten(v any) (any, bool) {
	switch v := v.(type) {
	case json.Number:
		short := shortNumber(v.String())
		return json.Number(short), short != v.String()
	case []any:
		items := v
		for i, item := range v {
			if short, changed := shorten(item); changed {
				if &items[0] == &v[0] {
					items = slices.Clone(v)
				}
				items[i] = short
			}
		}
		return items, len(v) > 0 && &items[0] != &v[0]
	case map[string]any:
		var fields map[string]any
		for name, field := range v {
			if short, changed := shorten(field); changed {
				if fields == nil {
					fields = maps.Clone(v)
				}
				fields[name] = short
			}
		}
		if fields != nil {
			return fields, true
		}
	}
	return v, false
}

// shortNumber shortens a number of JSON.
func shortNumber(text string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	e, _ := strconv.Atoi(exponent) // of one out of range, the nearest; 0 of none
	if len(mantissa) <= maxDigits && -maxExponent <= e && e <= maxExponent {
		return text
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	// The number is 0.digits times ten to the power of size.
	size := min(max(e, -len(text)-2*maxExponent), len(text)+2*maxExponent) - len(fraction) + len(digits)
	if len(digits) > maxDigits {
		rest := strings.Trim(digits[maxDigits:], "0")
		digits = digits[:maxDigits]
		if rest != "" {
			digits += "1" // it is a little more
		}
	}
	size = min(max(size, -maxExponent), maxExponent)
	short := "0." + digits + "e" + strconv.Itoa(size)
	if negative {
		return "-" + short
	}
	return short
}

// deeper reports whether a value is nested deeper than some levels.
func deeper(v any, levels int) bool {
	below := func(child any) bool { return deeper(child, levels-1) }
	switch v := v.(type) {
	case []any:
		return levels == 0 || slices.ContainsFunc(v, below)
	case map[string]any:
		return levels == 0 || slices.ContainsFunc(slices.Collect(maps.Values(v)), below)
	default:
		return false
	}
}
