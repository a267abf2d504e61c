package config

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/leveretmq/leveret/internal/trust"
)

// A Source is a kind of place that values come from. Lower numbers take precedence.
type Source uint8

// The sources.
const (
	FromProgram Source = iota + 1 // [Options.Overrides]
	FromFlag
	FromEnv
	FromFile
	FromDefault
)

// String returns the source's name: "flag".
func (s Source) String() string {
	names := [...]string{"?", "program", "flag", "env", "file", "default"}
	if int(s) >= len(names) {
		return names[0]
	}
	return names[s]
}

// MarshalText returns the source's name.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// An Origin is where a value came from.
type Origin struct {
	Source Source
	// Where is the flag, the variable, or the file and line.
	Where string
}

// A Value is the value of one key.
type Value struct {
	Key    Key
	Origin Origin

	value any
}

// String returns the value in a form safe to show: secrets and the passwords in URLs are hidden.
func (v Value) String() string { return v.Key.format(v.value) }

// Any returns the value itself, in the Go type of the key's [Type]. It may be a secret.
func (v Value) Any() any { return v.value }

// Loaded is the configuration read from all sources. It is immutable and safe for concurrent use.
type Loaded struct {
	config Config
	file   string
	order  []string
	values map[string]Value
}

// Config returns the settings common to all programs.
func (l *Loaded) Config() Config { return l.config }

// File returns the path of the file that was read. It is empty if there was none.
func (l *Loaded) File() string { return l.file }

// Value returns the value of a key. It returns false if there is no such key.
func (l *Loaded) Value(name string) (Value, bool) {
	v, ok := l.values[name]
	return v, ok
}

// A Setting is a key and its value in a form safe to show.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source Source `json:"source"`
	// Where is the flag, the variable, or the file and line. It is empty for a default.
	Where string `json:"where,omitempty"`
}

// Settings returns all keys with their values and origins, in the order of the table. Secrets and the passwords in URLs
// are hidden.
func (l *Loaded) Settings() []Setting {
	settings := make([]Setting, 0, len(l.order))
	for _, name := range l.order {
		v := l.values[name]
		s := Setting{Key: name, Value: v.String(), Source: v.Origin.Source, Where: v.Origin.Where}
		if s.Source == FromDefault {
			s.Where = ""
		}
		settings = append(settings, s)
	}
	return settings
}

// readSecrets reads the secrets that are kept in separate files. If both a secret and its twin are set, the one from
// the stronger source wins.
func (l *Loaded) readSecrets(keys []Key) error {
	for _, k := range keys {
		if k.fileOf == "" {
			continue
		}
		twin, secret := l.values[k.Name], l.values[k.fileOf]
		if empty(twin.value) || !empty(secret.value) && secret.Origin.Source < twin.Origin.Source {
			continue
		}
		if !empty(secret.value) && secret.Origin.Source == twin.Origin.Source {
			return &Error{Key: k.Name, Origin: twin.Origin, Err: fmt.Errorf("%s is set too, by %s; set only one of the two", k.fileOf, secret.Origin.Where)}
		}
		path := twin.value.(string) //nolint:forcetypeassert // a twin's type is String
		read := func() (string, slog.Attr, error) {
			value, err := secret.Key.readSecret(path)
			if err != nil {
				err = &Error{Key: k.Name, Origin: twin.Origin, Err: err}
			}
			return value, slog.Attr{}, err
		}
		fresh, err := trust.NewFresh("broker's password", read, path)
		if err != nil {
			return err
		}
		switch k.fileOf {
		case "broker.password":
			l.config.Broker.password = fresh
		case "database.password":
			l.config.Database.passwordFile = path
		}
		secret.value = fresh.Get(slog.New(slog.DiscardHandler))
		secret.Origin = Origin{Source: twin.Origin.Source, Where: path}
		l.values[k.fileOf] = secret
	}
	return nil
}

// readSecret reads a secret from its file.
func (k Key) readSecret(path string) (string, error) {
	content, err := trust.Read(path)
	if err != nil {
		return "", err
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	_, err = k.parse(value)
	return value, err
}

// fill fills in the typed configuration.
func (l *Loaded) fill() error {
	if err := l.decodeAll(&l.config); err != nil {
		return err
	}
	l.config.Broker.pairManagement(l.values["broker.url"].Origin, l.values["broker.management_url"].Origin)
	return errors.Join(l.config.Broker.err(), l.config.Worker.err(), l.config.serversErr())
}
