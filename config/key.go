package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// EnvPrefix is the prefix of the environment variables derived from keys.
const EnvPrefix = "LEVERET_"

// A Key describes one setting.
type Key struct {
	// Name is the key's path in the file, in lowercase words: "broker.tls.ca_file". It consists of at least a section and
	// a name, and is not the section of another key.
	Name string
	// Type is the type of the value.
	Type Type
	// Default is the value if nothing sets the key, written as in an environment variable: "5m", "a,b". If empty, it is
	// the type's zero value.
	Default string
	// Usage describes the key in a few words: one line, no full stop.
	Usage string
	// Secret marks a value that is never shown and has no flag. A secret key automatically has a twin, with the suffix
	// "_file", that names a file containing the value.
	Secret bool
	// NoFlag leaves the flag out. It is for a right, which a person should not get by typing it.
	NoFlag bool
	// OneOf lists the allowed values. If empty, any value is allowed.
	OneOf []string
	// Check validates a value, which has the Go type of the key's [Type]. Its error must not contain the value of a
	// secret. Optional.
	Check func(value any) error
	// Env is the name of the environment variable. Defaults to the name derived from Name.
	Env string

	fileOf string // the secret key whose twin this is
}

// EnvName returns the environment variable that sets the key: LEVERET_BROKER_TLS_CA_FILE.
func (k Key) EnvName() string {
	if k.Env != "" {
		return k.Env
	}
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// FlagName returns the name of the flag that sets the key: broker-tls-ca-file. It is empty for a key with NoFlag, and for
// a secret, because other users of the machine can see flags in the list of processes.
func (k Key) FlagName() string {
	if k.Secret || k.NoFlag {
		return ""
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.Name)
}

// Section returns the key's name up to its last dot.
func (k Key) Section() string { return k.Name[:max(strings.LastIndexByte(k.Name, '.'), 0)] }

// twin returns the key that names the file containing a secret.
func (k Key) twin() Key {
	t := Key{Name: k.Name + fileSuffix, Type: String, Usage: "a file containing " + k.Name, fileOf: k.Name}
	if k.Env != "" {
		t.Env = k.Env + "_FILE"
	}
	return t
}

const fileSuffix = "_file"

var keyName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)

// err checks the key itself.
func (k Key) err() error {
	switch {
	case !keyName.MatchString(k.Name):
		return fmt.Errorf("the key %q must be named like section.name, in lowercase words", k.Name)
	case k.Type < String || k.Type > URLs:
		return fmt.Errorf("the key %s has no type", k.Name)
	case k.Secret && k.Type != String:
		return fmt.Errorf("the key %s is a secret, so its type must be String", k.Name)
	case k.Secret && k.Default != "":
		return fmt.Errorf("the key %s is a secret, so it cannot have a default", k.Name)
	case k.Usage == "":
		return fmt.Errorf("the key %s has no usage text", k.Name)
	}
	if _, err := k.parse(k.Default); err != nil {
		return fmt.Errorf("the key %s has an invalid default: %w", k.Name, err)
	}
	return nil
}

// expand inserts the twin of each secret after it.
func expand(keys []Key) []Key {
	all := make([]Key, 0, len(keys)+1)
	for _, k := range keys {
		all = append(all, k)
		if k.Secret {
			all = append(all, k.twin())
		}
	}
	return all
}

// checkKeys checks a table of keys.
func checkKeys(keys []Key) error {
	var errs []error
	for i, k := range keys {
		errs = append(errs, k.err())
		for _, earlier := range keys[:i] {
			switch {
			case earlier.Name == k.Name:
				errs = append(errs, fmt.Errorf("two keys are named %s", k.Name))
			case earlier.EnvName() == k.EnvName():
				errs = append(errs, fmt.Errorf("the keys %s and %s share the variable %s", earlier.Name, k.Name, k.EnvName()))
			case earlier.FlagName() != "" && earlier.FlagName() == k.FlagName():
				errs = append(errs, fmt.Errorf("the keys %s and %s share the flag --%s", earlier.Name, k.Name, k.FlagName()))
			case strings.HasPrefix(earlier.Name, k.Name+"."), strings.HasPrefix(k.Name, earlier.Name+"."):
				errs = append(errs, fmt.Errorf("the keys %s and %s: one is the section of the other", earlier.Name, k.Name))
			}
		}
		if reserved := []string{configFlag, "help", "version"}; slices.Contains(reserved, k.FlagName()) {
			errs = append(errs, fmt.Errorf("the key %s has the flag --%s, which is reserved", k.Name, k.FlagName()))
		}
	}
	return errors.Join(errs...)
}
