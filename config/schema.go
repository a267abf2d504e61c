package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// A Schema is the table of keys of one program. It is immutable and safe for concurrent use.
type Schema struct {
	keys []Key
	err  error
}

// New returns the table of a program: [Keys] and the program's own keys. Mistakes in the keys are reported by
// [Schema.Err] and [Schema.Load].
//
// An unknown key in a file is an error, so programs that share a file must know each other's keys.
func New(extra ...Key) *Schema {
	s := &Schema{keys: slices.Concat(Keys(), expand(extra))}
	s.err = checkKeys(s.keys)
	return s
}

// Err returns all mistakes in the table, or nil.
func (s *Schema) Err() error { return s.err }

// Keys returns the table, including the twins of secrets.
func (s *Schema) Keys() []Key { return slices.Clone(s.keys) }

// Options are a program's own inputs to [Schema.Load].
type Options struct {
	// Defaults replaces the defaults of keys, by name.
	Defaults map[string]string
	// Overrides takes precedence over all other sources, by name. Use it in a program that runs another one inside itself.
	Overrides map[string]string
	// File is the file to read, in place of the one named by --config or LEVERET_CONFIG or found by default.
	File string
}

// Load reads all sources once: the flags set in fs, the environment, the file, and the defaults. fs may be nil or lack
// some of the flags. An empty variable counts as unset. Load's error lists all mistakes, each with the key, the value
// (unless it is a secret) and where it was set.
func (s *Schema) Load(fs *pflag.FlagSet, options Options) (*Loaded, error) {
	if s.err != nil {
		return nil, s.err
	}
	f, err := openFile(fs, options.File)
	if err != nil {
		return nil, err
	}
	errs := f.check(s.keys)
	if len(errs) >= maxFaults { // and viper would take minutes over thousands of keys
		return nil, errors.Join(errs...)
	}
	v := viper.New()
	if err := s.bind(v, fs, f, options); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	l := &Loaded{file: f.path, values: make(map[string]Value, len(s.keys))}
	for _, k := range s.keys {
		origin := s.origin(k, fs, f, options)
		value, err := s.value(v, k, origin)
		if err != nil {
			if origin.Source != FromDefault || len(errs) == 0 { // otherwise, viper took it from a key already reported by f.check
				errs = append(errs, err)
			}
			continue
		}
		l.order = append(l.order, k.Name)
		l.values[k.Name] = value
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := l.readSecrets(s.keys); err != nil {
		return nil, err
	}
	return l, l.fill()
}

// bind registers the sources of every key with viper.
func (s *Schema) bind(v *viper.Viper, fs *pflag.FlagSet, f file, options Options) error {
	for _, k := range s.keys {
		v.SetDefault(k.Name, k.Default)
		if err := v.BindEnv(k.Name, k.EnvName()); err != nil {
			return fmt.Errorf("bind %s: %w", k.EnvName(), err)
		}
		if flag := lookup(fs, k); flag != nil {
			if err := v.BindFlagValue(k.Name, asWritten{flag}); err != nil {
				return fmt.Errorf("bind --%s: %w", flag.Name, err)
			}
		}
	}
	if f.content != nil {
		v.SetConfigType("yaml")
		if err := v.ReadConfig(f.reader()); err != nil {
			return fmt.Errorf("%s: %w", f.path, withoutValues(err))
		}
	}
	for name, value := range options.Defaults {
		if err := s.known(name); err != nil {
			return fmt.Errorf("a default of the program: %w", err)
		}
		v.SetDefault(name, value)
	}
	for name, value := range options.Overrides {
		if err := s.known(name); err != nil {
			return fmt.Errorf("an override of the program: %w", err)
		}
		v.Set(name, value)
	}
	return nil
}

func (s *Schema) known(name string) error {
	if slices.ContainsFunc(s.keys, func(k Key) bool { return k.Name == name }) {
		return nil
	}
	return unknownKey(name, s.keys)
}

// origin returns the source that viper takes a key from, following viper's precedence.
func (s *Schema) origin(k Key, fs *pflag.FlagSet, f file, options Options) Origin {
	if _, ok := options.Overrides[k.Name]; ok {
		return Origin{Source: FromProgram, Where: "the program"}
	}
	if flag := lookup(fs, k); flag != nil && flag.Changed {
		return Origin{Source: FromFlag, Where: "--" + flag.Name}
	}
	if os.Getenv(k.EnvName()) != "" {
		return Origin{Source: FromEnv, Where: k.EnvName()}
	}
	if at, ok := f.at(k.Name); ok {
		return Origin{Source: FromFile, Where: at}
	}
	return Origin{Source: FromDefault, Where: "default"}
}

// value reads one key.
func (s *Schema) value(v *viper.Viper, k Key, origin Origin) (Value, error) {
	value, err := k.parse(v.Get(k.Name))
	if err == nil && origin.Source == FromFlag && (k.Type == URL || k.Type == URLs) && slices.ContainsFunc(k.words(value), hasPassword) {
		err = fmt.Errorf("other users of this machine can see the values of flags; set a URL with a password by %s", k.EnvName())
		if section := k.Section(); section == "broker" || section == "database" {
			err = fmt.Errorf("%w, or only the password by %[2]s_PASSWORD or %[2]s_PASSWORD_FILE", err, EnvPrefix+strings.ToUpper(section))
		}
	}
	if err != nil {
		return Value{}, &Error{Key: k.Name, Origin: origin, Err: err}
	}
	return Value{Key: k, Origin: origin, value: value}, nil
}

// An Error reports an invalid value.
type Error struct {
	Key    string
	Origin Origin
	Err    error
}

// Error returns the message in the form "key: problem (set by …)".
func (e *Error) Error() string {
	if e.Origin.Where == "" {
		return fmt.Sprintf("%s: %v", e.Key, e.Err)
	}
	return fmt.Sprintf("%s: %v (set by %s)", e.Key, e.Err, e.Origin.Where)
}

// Unwrap returns the problem.
func (e *Error) Unwrap() error { return e.Err }
