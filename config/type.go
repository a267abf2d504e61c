package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/internal/plain"
)

// A Type is the type of a key's value. It determines the Go type of the value.
type Type uint8

// The types.
const (
	String   Type = iota + 1 // string
	Strings                  // []string: a list in the file, "a,b" in a flag or a variable
	Int                      // int
	Bool                     // bool
	Duration                 // time.Duration, as in "1m30s"
	URL                      // string: a URL, shown without its password
	URLs                     // []string: URLs, each shown without its password
)

// String returns the type's name, as shown to users: "duration".
func (t Type) String() string {
	names := [...]string{"?", "string", "list", "int", "bool", "duration", "url", "urls"}
	if int(t) >= len(names) {
		return names[0]
	}
	return names[t]
}

// parse converts a source's value, which is a string or a decoded YAML value, to the key's type. Its error contains
// neither a secret nor the password of a URL, and does not name the key.
func (k Key) parse(raw any) (any, error) {
	value, err := k.convert(raw)
	if err != nil {
		return nil, err
	}
	for _, s := range k.words(value) {
		if len(k.OneOf) > 0 && s != "" && !slices.Contains(k.OneOf, s) {
			return nil, fmt.Errorf("%s is not one of %s", k.quote(s), strings.Join(k.OneOf, ", "))
		}
	}
	if k.Check != nil && !empty(value) {
		if err := k.Check(value); err != nil {
			return nil, err
		}
	}
	return value, nil
}

func (k Key) convert(raw any) (any, error) {
	switch k.Type {
	case Strings, URLs:
		return k.list(raw)
	case URL:
		s, err := k.text(raw)
		if err != nil || s == "" {
			return s, err
		}
		return s, checkURL(s)
	case Int, Bool, Duration:
		s, err := k.text(raw)
		if err != nil {
			return nil, err
		}
		return k.scalar(s)
	default:
		return k.text(raw)
	}
}

// scalar parses a number, a boolean or a duration.
func (k Key) scalar(s string) (any, error) {
	switch k.Type {
	case Int:
		if s == "" {
			return 0, nil
		}
		n, err := strconv.Atoi(s)
		if errors.Is(err, strconv.ErrRange) {
			return nil, fmt.Errorf("%s is out of range", k.quote(s))
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number", k.quote(s))
		}
		return n, nil
	case Bool:
		switch strings.ToLower(s) {
		case "true", "yes", "on", "1":
			return true, nil
		case "", "false", "no", "off", "0":
			return false, nil
		}
		return nil, fmt.Errorf("%s is neither true nor false", k.quote(s))
	default:
		if s == "" || s == "0" {
			return time.Duration(0), nil
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return nil, fmt.Errorf("%s is not a duration such as 500ms, 5s or 1m30s", k.quote(s))
		}
		if d < 0 {
			return nil, fmt.Errorf("%s is negative", k.quote(s))
		}
		return d, nil
	}
}

// text returns a scalar as text.
func (k Key) text(raw any) (string, error) {
	switch v := raw.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool, int, int64, uint64, float64:
		if _, is := v.(bool); k.Type == Bool && !is {
			return "", fmt.Errorf("%s is neither true nor false", k.quote(fmt.Sprint(v)))
		}
		if f, is := v.(float64); is {
			return strconv.FormatFloat(f, 'f', -1, 64), nil // without an exponent
		}
		return fmt.Sprint(v), nil
	default:
		return "", fmt.Errorf("it must be a single value (%s), not a list or a section", k.Type)
	}
}

// list accepts a list, or a string with commas.
func (k Key) list(raw any) (any, error) {
	var words []string
	switch v := raw.(type) {
	case []string:
		words = slices.Clone(v)
	case []any:
		for _, element := range v {
			word, err := k.text(element)
			if err != nil {
				return nil, err
			}
			words = append(words, word)
		}
	default:
		s, err := k.text(raw)
		if err != nil {
			return nil, err
		}
		words = strings.Split(s, ",")
	}
	for i := range words {
		words[i] = strings.TrimSpace(words[i])
	}
	words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
	if len(words) == 0 {
		words = nil // as where nothing is set
	}
	if k.Type == URLs {
		for _, word := range words {
			if err := checkURL(word); err != nil {
				return nil, err
			}
		}
	}
	return words, nil
}

// words returns the strings in a value.
func (k Key) words(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	default:
		return nil
	}
}

// quote returns an invalid value for use in an error, without anything that must not be shown.
func (k Key) quote(s string) string {
	switch {
	case k.Secret:
		return "the value"
	case k.Type == URL || k.Type == URLs:
		return strconv.Quote(RedactURL(s))
	default:
		return strconv.Quote(s)
	}
}

// format formats a value as in an environment variable, without anything that must not be shown.
func (k Key) format(value any) string {
	if k.Secret && !empty(value) {
		return hidden
	}
	switch v := value.(type) {
	case []string:
		shown := slices.Clone(v)
		for i := range shown {
			if k.Type == URLs {
				shown[i] = RedactURL(shown[i])
			}
		}
		return strings.Join(shown, ",")
	case string:
		if k.Type == URL {
			return RedactURL(v)
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

const hidden = "******"

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []string:
		return len(v) == 0
	default:
		return false
	}
}

// RedactURL hides what may be a password in a URL: the one of its user, the query and the fragment. If raw is not a URL,
// or may contain a password in the wrong place, RedactURL hides all of it.
func RedactURL(raw string) string { return plain.URL(raw) }

// checkURL does not quote what it cannot parse, since that may be part of a password.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("it is not a URL such as scheme://user:password@host:port/path; " +
			"special characters in a user name or password must be written as %XX")
	}
	if strings.Count(u.Host, ":") > 1 && u.Host[0] != '[' {
		return fmt.Errorf("%q has two ports, or an IPv6 address without brackets", RedactURL(raw))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q has a port out of range (1-65535)", RedactURL(raw))
		}
	}
	return nil
}

// hasPassword reports whether a URL contains a password worth hiding, which RabbitMQ's default guest:guest is not.
func hasPassword(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return false
	}
	password, set := u.User.Password()
	return set && (u.User.Username() != "guest" || password != "guest")
}
