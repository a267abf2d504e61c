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

// New makes the table of a program: [Keys], and the program's own. It never fails; what is wrong with the keys is
// reported by [Schema.Err] and [Schema.Load].
//
// Programs that share a file share a table too, since a key that a program does not know is an error.
func New(extra ...Key) *Schema {
	s := &Schema{keys: slices.Concat(Keys(), expand(extra))}
	s.err = checkKeys(s.keys)
	return s
}

// Err returns all that is wrong with the table.
func (s *Schema) Err() error { return s.err }

// Keys returns the table, the twins of secrets included.
func (s *Schema) Keys() []Key { return slices.Clone(s.keys) }

// Options say what a program brings along, beside its table.
type Options struct {
	// Defaults replace the defaults of keys, by the keys' names.
	Defaults map[string]string
	// Overrides win over every other source, by the keys' names: for a program that runs another one inside itself.
	Overrides map[string]string
	// File is the file to read, instead of the one that --config or LEVERET_CONFIG names or that is found.
	File string
}

// Load reads all sources once: the flags in fs that were given (fs may be nil, and need not have all of the keys' flags),
// the process's environment, the file, the defaults. An empty variable counts as unset. Load returns everything that is
// wrong, each with the key, the value (never a secret) and where it was set.
func (s *Schema) Load(fs *pflag.FlagSet, options Options) (*Loaded, error) {
	if s.err != nil {
		return nil, s.err
	}
	f, err := openFile(fs, options.File)
	if err != nil {
		return nil, err
	}
	errs := f.check(s.keys)
	v := viper.New()
	if err := s.bind(v, fs, f, options); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	l := &Loaded{file: f.path, values: make(map[string]Value, len(s.keys))}
	for _, k := range s.keys {
		origin := s.origin(k, fs, f, options)
		value, err := s.value(v, k, origin)
		if err != nil {
			if origin.Source != FromDefault || len(errs) == 0 { // else viper took it from a key that f.check refused
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

// bind tells viper of every key's sources.
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

// origin tells which source viper takes a key from, by viper's own order.
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
		err = fmt.Errorf("a flag's value is seen by the machine's other users; give a URL with a password by %s", k.EnvName())
		if strings.HasPrefix(k.Name, "broker.") {
			err = fmt.Errorf("%w, or the password alone by LEVERET_BROKER_PASSWORD or LEVERET_BROKER_PASSWORD_FILE", err)
		}
	}
	if err != nil {
		return Value{}, &Error{Key: k.Name, Origin: origin, Err: err}
	}
	return Value{Key: k, Origin: origin, value: value}, nil
}

// An Error says what is wrong with a value.
type Error struct {
	Key    string
	Origin Origin
	Err    error
}

// Error returns "key: what is wrong (set by …)".
func (e *Error) Error() string {
	if e.Origin.Where == "" {
		return fmt.Sprintf("%s: %v", e.Key, e.Err)
	}
	return fmt.Sprintf("%s: %v (set by %s)", e.Key, e.Err, e.Origin.Where)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }
