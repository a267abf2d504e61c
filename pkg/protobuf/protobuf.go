// Package protobuf carries the payloads of contracts as Protocol Buffers. Their types are pointers to generated messages:
//
//	var ChargeCard = leveret.NewCommand[*billingv1.Charge]("billing.charge", leveret.Encoded(protobuf.Codec()))
//
// It is a module of its own, so that only programs that use it depend on it.
package protobuf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// ContentType is what most programs write that send Protocol Buffers.
const ContentType = "application/x-protobuf"

// Codec returns the codec. People write and read payloads in the JSON mapping of Protocol Buffers, with fields of the value
// zero; a field with the option debug_redact is hidden where payloads are shown. Another content type can be set in what is
// returned: "application/protobuf".
//
// The check of contracts against their last release compares that JSON. It does not see the numbers of fields, on which the
// encoding depends: use the breaking rules of buf for these.
func Codec() leveret.Codec {
	return leveret.Codec{
		ContentType: ContentType,
		Encode: func(pointer any) ([]byte, error) {
			m, err := message(pointer)
			if err != nil {
				return nil, err
			}
			return proto.Marshal(m)
		},
		Decode: func(body []byte, pointer any) error {
			m, err := fresh(pointer)
			if err != nil {
				return err
			}
			return proto.Unmarshal(body, m)
		},
		Check: check,
		ToJSON: func(pointer any) ([]byte, error) {
			m, err := message(pointer)
			if err != nil {
				return nil, err
			}
			text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
			if err != nil {
				return nil, err
			}
			var b bytes.Buffer
			err = json.Compact(&b, text) // protojson varies its white space, so that nobody relies on it
			return b.Bytes(), err
		},
		FromJSON: func(text []byte, pointer any) error {
			m, err := fresh(pointer)
			if err != nil {
				return err
			}
			return protojson.Unmarshal(text, m)
		},
		Schema: func(t reflect.Type) ([]byte, error) {
			if err := check(t); err != nil {
				return nil, err
			}
			return schemaOf(made(t).ProtoReflect().Descriptor())
		},
	}
}

// check returns why a type cannot be carried.
func check(t reflect.Type) error {
	if t.Kind() != reflect.Pointer || !t.Implements(reflect.TypeFor[proto.Message]()) || made(t).ProtoReflect().Descriptor() == nil {
		return fmt.Errorf("%s is for pointers to generated messages, such as *pb.Order, not for %v", ContentType, t)
	}
	return nil
}

// made returns a new message of a type, which is a pointer to one.
func made(t reflect.Type) proto.Message {
	m, _ := reflect.TypeAssert[proto.Message](reflect.New(t.Elem()))
	return m
}

// message returns the message that a pointer to a payload leads to.
func message(pointer any) (proto.Message, error) {
	m, ok := reflect.TypeAssert[proto.Message](reflect.ValueOf(pointer).Elem())
	if !ok {
		return nil, fmt.Errorf("%T leads to no message", pointer)
	}
	return m, nil
}

// fresh has a pointer to a payload lead to a new message.
func fresh(pointer any) (proto.Message, error) {
	v := reflect.ValueOf(pointer).Elem()
	if err := check(v.Type()); err != nil {
		return nil, err
	}
	m := made(v.Type())
	v.Set(reflect.ValueOf(m))
	return m, nil
}
