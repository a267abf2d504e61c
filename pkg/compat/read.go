package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// What a lock file may hold, so that reading and comparing one takes bounded time whatever is in it.
const (
	// MaxSize is how many bytes a lock file may have.
	MaxSize = 32 << 20
	// maxDepth is how deep a lock file may be nested.
	maxDepth = 200
	// maxDigits and maxExponent bound its numbers: the validator writes out all their digits.
	maxDigits, maxExponent = 60, 400
)

// ErrNewer: a lock file was written by a newer version, in a format that this one does not know.
var ErrNewer = errors.New("the lock file is of a newer format")

// Read reads a lock file. A file of a newer format is an [ErrNewer].
func Read(data []byte) (*Lock, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("not a lock file: it is larger than %d MiB", MaxSize>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if err := bounded(data); err != nil {
		return nil, fmt.Errorf("not a lock file: %w", err)
	}
	var head struct {
		Format    *int            `json:"format"`
		Contracts json.RawMessage `json:"contracts"`
	}
	switch err := json.Unmarshal(data, &head); {
	case err != nil:
		return nil, fmt.Errorf("not a lock file: %w", err)
	case head.Format == nil || *head.Format < 1 || head.Contracts == nil:
		return nil, errors.New("not a lock file: it has no format or no contracts")
	case *head.Format > Format:
		return nil, fmt.Errorf("%w: it has format %d, and this version reads up to %d", ErrNewer, *head.Format, Format)
	}
	l := &Lock{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("not a lock file: %w", err)
	}
	return l, l.check()
}

// check finds what a lock that was written by this package cannot have.
func (l *Lock) check() error {
	seen := map[string]bool{}
	for _, c := range l.Contracts {
		switch {
		case c.Name == "":
			return errors.New("not a lock file: a contract has no name")
		case seen[c.Name]:
			return fmt.Errorf("not a lock file: the contract %q is there twice", c.Name)
		case !slices.Contains([]string{"command", "event", "request"}, c.Kind):
			return fmt.Errorf("not a lock file: %q is of the kind %q", c.Name, c.Kind)
		case c.Payload == nil || c.Kind == "request" && c.Reply == nil:
			return fmt.Errorf("not a lock file: %q lacks a schema", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// bounded returns what exceeds a limit in one value of JSON. It takes the time of reading it once.
func bounded(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for depth := 0; ; {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && depth == 0:
			return nil
		case err != nil:
			return fmt.Errorf("it is not JSON: %w", err)
		}
		switch token := token.(type) {
		case json.Delim:
			if depth++; token == '}' || token == ']' {
				depth -= 2
			}
			if depth > maxDepth {
				return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
			}
		case json.Number:
			_, exponent, _ := strings.Cut(strings.ToLower(token.String()), "e")
			if e, err := strconv.Atoi(exponent); len(token) > maxDigits || exponent != "" && (err != nil || e > maxExponent || e < -maxExponent) {
				return fmt.Errorf("the number %.20s… is too long", token.String())
			}
		}
	}
}

// byName returns contracts by their names, and the names in order.
func byName(contracts []Contract) (map[string]Contract, []string) {
	all := make(map[string]Contract, len(contracts))
	for _, c := range contracts {
		all[c.Name] = c
	}
	return all, slices.Sorted(maps.Keys(all))
}
