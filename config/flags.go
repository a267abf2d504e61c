package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// configFlag names the file to read.
const configFlag = "config"

// AddFlags defines the flags of the keys in fs, and --config. Where sections are named, only the flags of those are
// defined: "broker" stands for "broker.tls" too. Flags that fs has already are left alone. Give fs to [Schema.Load] once
// it is parsed.
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

// flagValue keeps what was written until Load reads it through viper.
type flagValue struct {
	key  Key
	text string
}

// String returns what was written.
func (f *flagValue) String() string { return f.text }

// Set takes anything: Load says what is wrong with it, along with what is wrong elsewhere.
func (f *flagValue) Set(text string) error {
	f.text = text
	return nil
}

// Type returns the name of the type for the help.
func (f *flagValue) Type() string { return f.key.Type.String() }

// asWritten is a flag for viper, which would take a number or a truth that it cannot read for zero.
type asWritten struct{ flag *pflag.Flag }

func (a asWritten) HasChanged() bool    { return a.flag.Changed }
func (a asWritten) Name() string        { return a.flag.Name }
func (a asWritten) ValueString() string { return a.flag.Value.String() }
func (a asWritten) ValueType() string   { return "string" }
