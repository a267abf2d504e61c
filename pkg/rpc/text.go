package rpc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// EncodeText returns text as a structured header field (RFC 9651): a token-like text as it is, other printable ASCII as
// a quoted string, and all else as a display string: %"caf%c3%a9".
func EncodeText(text string) string {
	plain, ascii := text != "", true
	for _, c := range []byte(text) {
		switch {
		case c == ' ', c == '"', c == '\\', c == '%', c == ',', c == ';':
			plain = false
		case c < ' ' || c >= 0x7f:
			plain, ascii = false, false
		}
	}
	if plain {
		return text
	}
	var b strings.Builder
	if ascii {
		b.WriteByte('"')
		for _, c := range []byte(text) {
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
		return b.String()
	}
	b.WriteString(`%"`)
	for _, c := range []byte(text) {
		if c == '%' || c == '"' || c < ' ' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// DecodeText reads what [EncodeText] writes, and takes any other text as it is.
func DecodeText(value string) (string, error) {
	value = strings.Trim(value, " \t")
	inner, display := strings.CutPrefix(value, "%")
	switch {
	case !strings.HasPrefix(inner, `"`):
		if !utf8.ValidString(value) {
			return "", errors.New("it is not UTF-8")
		}
		return value, nil
	case len(inner) < 2 || !strings.HasSuffix(inner, `"`):
		return "", errors.New("the closing quotation mark is missing")
	}
	inner = inner[1 : len(inner)-1]
	decode := unescape
	if display {
		decode = unpercent
	}
	text, err := decode(inner)
	if err == nil && !utf8.ValidString(text) {
		err = errors.New("it is not UTF-8")
	}
	return text, err
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"', c < ' ', c >= 0x7f:
			return "", fmt.Errorf("%q cannot stand in a quoted string", c)
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", errors.New(`only \" and \\ can follow a backslash`)
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func unpercent(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"', c < ' ', c >= 0x7f:
			return "", fmt.Errorf("%q cannot stand in a display string", c)
		case c == '%':
			decoded, err := hex.DecodeString(s[i+1 : min(i+3, len(s))])
			if err != nil || len(decoded) != 1 {
				return "", errors.New("two hexadecimal digits must follow a per cent sign")
			}
			b.WriteByte(decoded[0])
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
