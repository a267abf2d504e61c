package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Validator is a configuration struct that checks its values in combination.
type Validator interface{ Validate() error }

// Decode reads the keys of a section, "payment" for example, into the struct that into points to. Each field has the
// rest of its key's name as a tag, `config:"decline_above"`, and the Go type of its key. A field that is a struct is a
// subsection. If a field has no key, or a key has no field, Decode returns an error, so that neither is forgotten. If
// into is a [Validator], Decode calls Validate.
func (l *Loaded) Decode(section string, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("config: Decode(%q) needs a pointer to a struct, not a %T", section, into)
	}
	seen, err := l.decode(section, target.Elem())
	if err != nil {
		return err
	}
	for _, name := range l.order {
		if strings.HasPrefix(name, section+".") && !slices.Contains(seen, name) && l.values[name].Key.fileOf == "" {
			return fmt.Errorf("config: Decode(%q): no field of %v is tagged with the key %s", section, target.Elem().Type(), name)
		}
	}
	if v, ok := into.(Validator); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("%s: %w", section, err)
		}
	}
	return nil
}

// decodeAll reads all common sections.
func (l *Loaded) decodeAll(into *Config) error {
	_, err := l.decode("", reflect.ValueOf(into).Elem())
	return err
}

// decode reads a section into target and returns the names of the keys that it read.
func (l *Loaded) decode(section string, target reflect.Value) ([]string, error) {
	var seen []string
	for i := range target.NumField() {
		field, kind := target.Field(i), target.Type().Field(i)
		tag, ok := kind.Tag.Lookup("config")
		if !ok || tag == "-" {
			continue
		}
		name := strings.TrimPrefix(section+"."+tag, ".")
		if !kind.IsExported() {
			return nil, fmt.Errorf("config: the field %s.%s for the key %s is not exported", target.Type(), kind.Name, name)
		}
		if field.Kind() == reflect.Struct {
			inner, err := l.decode(name, field)
			if err != nil {
				return nil, err
			}
			seen = append(seen, inner...)
			continue
		}
		v, ok := l.values[name]
		if !ok {
			return nil, fmt.Errorf("config: the field %s.%s has the key %s, which is not in the table", target.Type(), kind.Name, name)
		}
		value := reflect.ValueOf(v.value)
		if !value.Type().AssignableTo(field.Type()) && !convertible(value, field) {
			return nil, fmt.Errorf("config: the field %s.%s is a %s, but the key %s is a %s", target.Type(), kind.Name, field.Type(), name, v.Key.Type)
		}
		field.Set(value.Convert(field.Type()))
		seen = append(seen, name)
	}
	return seen, nil
}

// convertible allows a named type of the same kind, and any signed integer that can hold the value.
func convertible(value, field reflect.Value) bool {
	if value.CanInt() && field.CanInt() && value.Type() != reflect.TypeFor[int]() {
		return false // a duration is not a number
	}
	if value.CanInt() && field.CanInt() {
		return field.Type().PkgPath() != "time" && !field.OverflowInt(value.Int())
	}
	return value.Kind() == field.Kind() && value.Kind() != reflect.Slice
}
