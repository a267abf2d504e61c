// Package protobuf carries the payloads of contracts as Protocol Buffers. Their types are pointers to generated messages:
//
//	var ChargeCard = leveret.NewCommand[*billingv1.Charge]("billing.charge", leveret.Encoded(protobuf.Codec()))
//
// It is a module of its own, so that only programs that use it depend on it.
package protobuf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// ContentType is what most programs write that send Protocol Buffers.
const ContentType = "application/x-protobuf"

// Codec returns the codec. People write and read payloads in the JSON mapping of Protocol Buffers, with fields of the value
// zero; a field with the option debug_redact is hidden where payloads are shown, and so is any google.protobuf.Any as a
// whole. Extensions are shown, or hidden by their own option, where the program has their Go package. Another content type
// can be set in what is returned: "application/protobuf".
//
// Over HTTP, where that JSON travels, a field that the program does not know is ignored, and so is the name of an enum's
// value: the field is then zero. The command line refuses both, and so does an HTTP server that is Strict.
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
			return plainly(protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, m))
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

// what protojson says that quotes nothing of the JSON, and where: its messages end with the text that is wrong.
var (
	said = regexp.MustCompile(`^(?:invalid value for \w+ (?:field [\w.\[\]]+|key)|required field \S+ not set)`)
	line = regexp.MustCompile(`\(line (\d+):(\d+)\)`)
)

// plainly returns an error of protojson without the text that it quotes, which may be a secret.
func plainly(err error) error {
	if err == nil {
		return nil
	}
	before, at := strings.TrimPrefix(err.Error(), "proto:"), ""
	if found := line.FindStringSubmatchIndex(before); found != nil {
		at = fmt.Sprintf(" (line %s, column %s)", before[found[2]:found[3]], before[found[4]:found[5]])
		before = before[found[1]:]
	}
	before = strings.TrimLeft(before, ": \u00a0")
	what := "it does not fit the message"
	if found := said.FindStringIndex(before); found != nil {
		what = before[:found[1]]
	}
	return errors.New(what + at)
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
