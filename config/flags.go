package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// configFlag is the flag that names the file to read.
const configFlag = "config"

// AddFlags defines --config and the flags of the keys in fs. If sections are given, it defines only their flags;
// "broker" includes "broker.tls". It does not touch flags that fs already has. After parsing, pass fs to [Schema.Load].
func (s *Schema) AddFlags(fs *pflag.FlagSet, sections ...string) {
	if fs.Lookup(configFlag) == nil {
		fs.String(configFlag, "", "the `file` to read settings from (default ./leveret.yaml, ~/.config/leveret/leveret.yaml)")
	}
	for _, k := range s.keys {
		if k.FlagName() == "" || fs.Lookup(k.FlagName()) != nil || !within(k, sections) {
			continue
		}
		fs.AddFlag(k.flag())
	}
}

func within(k Key, sections []string) bool {
	return len(sections) == 0 || slices.ContainsFunc(sections, func(section string) bool { return strings.HasPrefix(k.Name, section+".") })
}

func (k Key) flag() *pflag.Flag {
	f := &pflag.Flag{Name: k.FlagName(), Usage: k.Usage, Value: &flagValue{key: k}}
	if len(k.OneOf) > 0 {
		f.Usage += " (" + strings.Join(k.OneOf, ", ") + ")"
	}
	if value, err := k.parse(k.Default); err == nil && !reflect.ValueOf(value).IsZero() {
		f.DefValue = k.format(value)
		f.Value = &flagValue{key: k, text: f.DefValue}
	}
	if k.Type == Bool {
		f.NoOptDefVal = "true"
	}
	return f
}

func lookup(fs *pflag.FlagSet, k Key) *pflag.Flag {
	if fs == nil || k.FlagName() == "" {
		return nil
	}
	return fs.Lookup(k.FlagName())
}

// flagValue keeps the flag's text until Load reads it through viper.
type flagValue struct {
	key  Key
	text string
}

// String returns the flag's text.
func (f *flagValue) String() string { return f.text }

// Set accepts any text. Load checks it, so that all mistakes are reported together.
func (f *flagValue) Set(text string) error {
	f.text = text
	return nil
}

// Type returns the type's name, as shown in the help.
func (f *flagValue) Type() string { return f.key.Type.String() }

// asWritten presents every flag to viper as a string. Given the real type, viper would read an invalid number or
// boolean as zero.
type asWritten struct{ flag *pflag.Flag }

func (a asWritten) HasChanged() bool    { return a.flag.Changed }
func (a asWritten) Name() string        { return a.flag.Name }
func (a asWritten) ValueString() string { return a.flag.Value.String() }
func (a asWritten) ValueType() string   { return "string" }
