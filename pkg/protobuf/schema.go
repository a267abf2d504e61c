package protobuf

import (
	"encoding/json"
	"fmt"
	"maps"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

type object = map[string]any

// schemas makes the JSON Schemas of messages, in the JSON mapping of Protocol Buffers.
type schemas struct{ defs object }

// schemaOf returns the JSON Schema of a message; those that it refers to are definitions in it.
func schemaOf(m protoreflect.MessageDescriptor) ([]byte, error) {
	s := &schemas{defs: object{}}
	root := object{"$schema": "https://json-schema.org/draft/2020-12/schema"}
	maps.Copy(root, s.message(m))
	if len(s.defs) > 0 {
		root["$defs"] = s.defs
	}
	text, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("the schema of %s: %w", m.FullName(), err)
	}
	return text, nil
}

func (s *schemas) message(m protoreflect.MessageDescriptor) object {
	if known := wellKnown(m.FullName()); known != nil {
		return known
	}
	properties, required := object{}, []string{}
	fields := m.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		property := s.field(f)
		if f.TextName() != f.JSONName() {
			property["title"] = f.TextName() // which is read, too: see package schema
		}
		properties[f.JSONName()] = property
		if f.Cardinality() == protoreflect.Required {
			required = append(required, f.JSONName())
		}
	}
	protoregistry.GlobalTypes.RangeExtensionsByMessage(m.FullName(), func(x protoreflect.ExtensionType) bool {
		properties["["+string(x.TypeDescriptor().FullName())+"]"] = s.field(x.TypeDescriptor())
		return true
	})
	schema := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

func (s *schemas) field(f protoreflect.FieldDescriptor) object {
	var schema object
	switch {
	case f.IsMap():
		schema = object{"type": "object", "additionalProperties": s.value(f.MapValue())}
		switch f.MapKey().Kind() {
		case protoreflect.StringKind:
		case protoreflect.BoolKind:
			schema["propertyNames"] = object{"enum": []string{"true", "false"}}
		default:
			schema["propertyNames"] = object{"pattern": "^-?[0-9]+$"}
		}
	case f.IsList():
		schema = object{"type": "array", "items": s.value(f)}
	default:
		schema = s.value(f)
	}
	if choice := f.ContainingOneof(); choice != nil && !choice.IsSynthetic() {
		schema["$comment"] = "oneof " + string(choice.Name()) // so package schema has one of them in an example
	}
	if options, ok := f.Options().(*descriptorpb.FieldOptions); ok && options.GetDebugRedact() {
		schema["writeOnly"] = true
	}
	return schema
}

// value describes one value of a field. The first alternative is what is written.
func (s *schemas) value(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return either(object{"type": "number"}, object{"type": "string"})
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return either(object{"type": "string", "pattern": "^-?[0-9]+$"}, object{"type": "integer"})
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return either(object{"type": "string", "pattern": "^[0-9]+$"}, object{"type": "integer", "minimum": 0})
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{"type": "integer", "minimum": 0, "maximum": 1<<32 - 1}
	case protoreflect.EnumKind:
		return enum(f.Enum())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return s.reference(f.Message())
	default: // the others have 32 bits, with a sign
		return object{"type": "integer", "minimum": -1 << 31, "maximum": 1<<31 - 1}
	}
}

func either(alternatives ...object) object { return object{"anyOf": alternatives} }

// enum describes one value of an enum: a name, or the number of one that this program does not know.
func enum(e protoreflect.EnumDescriptor) object {
	if e.FullName() == "google.protobuf.NullValue" {
		return object{}
	}
	var names []string
	values := e.Values()
	for i := range values.Len() {
		names = append(names, string(values.Get(i).Name()))
	}
	return either(object{"type": "string", "enum": names}, object{"type": "integer"})
}

// reference leads to the definition of a message, which may be within itself.
func (s *schemas) reference(m protoreflect.MessageDescriptor) object {
	if known := wellKnown(m.FullName()); known != nil {
		return known
	}
	name := string(m.FullName())
	if s.defs[name] == nil {
		s.defs[name] = object{} // it is being made
		s.defs[name] = s.message(m)
	}
	return object{"$ref": "#/$defs/" + name}
}

// wellKnown returns the schema of a message that has a JSON of its own; nil for all others.
func wellKnown(name protoreflect.FullName) object {
	switch name {
	case "google.protobuf.Timestamp":
		return object{"type": "string", "format": "date-time"}
	case "google.protobuf.Duration":
		return object{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]+)?s$`, "examples": []string{"1.5s"}}
	case "google.protobuf.FieldMask":
		return object{"type": "string"}
	case "google.protobuf.Any":
		return object{"type": "object", "writeOnly": true} // what is in it may have secrets, and have no descriptor here
	case "google.protobuf.Struct", "google.protobuf.Empty":
		return object{"type": "object"}
	case "google.protobuf.ListValue":
		return object{"type": "array"}
	case "google.protobuf.Value":
		return object{}
	case "google.protobuf.BoolValue":
		return object{"type": "boolean"}
	case "google.protobuf.StringValue":
		return object{"type": "string"}
	case "google.protobuf.BytesValue":
		return object{"type": "string", "contentEncoding": "base64"}
	case "google.protobuf.Int32Value", "google.protobuf.UInt32Value":
		return object{"type": "integer"}
	case "google.protobuf.Int64Value", "google.protobuf.UInt64Value":
		return either(object{"type": "string", "pattern": "^-?[0-9]+$"}, object{"type": "integer"})
	case "google.protobuf.FloatValue", "google.protobuf.DoubleValue":
		return either(object{"type": "number"}, object{"type": "string"})
	default:
		return nil
	}
}
