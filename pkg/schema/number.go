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

// A shortening makes a value shorter in order to check it. Each of the texts that stand for what is too deep is another.
type shortening struct{ cut int }

// of returns a value in which no number has many digits, and which has a text in place of each array and object that is
// some levels deep; and whether that is another value. It leaves v as it is.
func (s *shortening) of(v any, levels int) (any, bool) {
	if k := firstByte(v); levels == 0 && (k == '{' || k == '[') {
		s.cut++
		return "\x00" + strconv.Itoa(s.cut), true
	}
	switch v := v.(type) {
	case json.Number:
		short := shortNumber(v.String())
		return json.Number(short), short != v.String()
	case []any:
		items := v
		for i, item := range v {
			if short, changed := s.of(item, levels-1); changed {
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
			if short, changed := s.of(field, levels-1); changed {
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
