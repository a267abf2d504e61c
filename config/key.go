package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// EnvPrefix begins the name of every variable that follows from a key's name.
const EnvPrefix = "LEVERET_"

// A Key is one setting: where it can be set, what it may be, and what it means.
type Key struct {
	// Name is the key's path in the file, in lower-case words: "broker.tls.ca_file". It has at least a section and a
	// name. No key's name is the section of another.
	Name string
	// Type is what the value is.
	Type Type
	// Default is the value where nothing sets the key, written as in a variable: "5m", "a,b". Empty is the type's zero.
	Default string
	// Usage says in a few words what the key does: one line, no full stop.
	Usage string
	// Secret says that the value is never shown and cannot be given by a flag. A secret key has a twin that names a file
	// which holds the value, with "_file" after its name.
	Secret bool
	// OneOf lists the values that are allowed; empty means any.
	OneOf []string
	// Check tells what is wrong with a value of the key's [Type], beyond its type. Its error must not hold the value of
	// a secret. Optional.
	Check func(value any) error
	// Env is the variable's name where it does not follow from the key's.
	Env string

	fileOf string // the secret key that this is the twin of
}

// EnvName returns the environment variable that sets the key: LEVERET_BROKER_TLS_CA_FILE.
func (k Key) EnvName() string {
	if k.Env != "" {
		return k.Env
	}
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// FlagName returns the flag that sets the key, without its hyphens in front: broker-tls-ca-file. It is empty for a
// secret, which the machine's other users would see in the list of processes.
func (k Key) FlagName() string {
	if k.Secret {
		return ""
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.Name)
}

// Section returns the key's name up to its last dot.
func (k Key) Section() string { return k.Name[:max(strings.LastIndexByte(k.Name, '.'), 0)] }

// twin returns the key that names the file in which a secret stands.
func (k Key) twin() Key {
	t := Key{Name: k.Name + fileSuffix, Type: String, Usage: "a file that holds " + k.Name, fileOf: k.Name}
	if k.Env != "" {
		t.Env = k.Env + "_FILE"
	}
	return t
}

const fileSuffix = "_file"

var keyName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)

// err tells what is wrong with the key itself.
func (k Key) err() error {
	switch {
	case !keyName.MatchString(k.Name):
		return fmt.Errorf("the key %q is not named like section.name, in lower-case words", k.Name)
	case k.Type < String || k.Type > URLs:
		return fmt.Errorf("the key %s has no type", k.Name)
	case k.Secret && k.Type != String:
		return fmt.Errorf("the key %s is a secret, and not a string", k.Name)
	case k.Secret && k.Default != "":
		return fmt.Errorf("the key %s is a secret with a default", k.Name)
	case k.Usage == "":
		return fmt.Errorf("the key %s says nothing of what it does", k.Name)
	}
	if _, err := k.parse(k.Default); err != nil {
		return fmt.Errorf("the key %s has a wrong default: %w", k.Name, err)
	}
	return nil
}

// expand puts the twins of the secrets into the table, each behind its secret.
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

// checkKeys tells what is wrong with a table of keys.
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
			errs = append(errs, fmt.Errorf("the key %s takes the flag --%s, which is taken", k.Name, k.FlagName()))
		}
	}
	return errors.Join(errs...)
}
