package leveret

import (
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// A Codec says how the payloads and the replies of a contract travel where they are not JSON: see [Encoded]. ContentType,
// Encode and Decode are required. Its functions are safe for concurrent use, and do not keep what they are given. Their
// errors go to logs, dead letters and callers: they must not quote a payload, which may hold secrets.
type Codec struct {
	// ContentType is the content_type of what is sent: "application/x-protobuf". On the way in it is not looked at.
	ContentType string
	// Encode encodes what a pointer leads to, which is never nil, into memory of its own; Decode decodes into one, as
	// [json.Unmarshal] does. A body may be empty.
	Encode func(pointer any) ([]byte, error)
	Decode func(body []byte, pointer any) error
	// Check returns why a type cannot be carried. It is called when a contract is made. Default: what encoding/json cannot
	// carry is refused, unless there is a ToJSON.
	Check func(t reflect.Type) error
	// ToJSON and FromJSON convert values to and from the JSON that people read and write: in the command line, and over
	// HTTP. FromJSON ignores fields that it does not know. Default encoding/json.
	ToJSON   func(pointer any) ([]byte, error)
	FromJSON func(text []byte, pointer any) error
	// Schema returns the JSON Schema of that JSON for a type. Fields outside it are refused from people; the title of a property
	// is another name for it. What is writeOnly is hidden where payloads are shown; of properties that have the same $comment,
	// "oneof …", an example has one. Default that of the Go type: see package schema.
	Schema func(t reflect.Type) ([]byte, error)
}

// Encoded makes a contract's payloads and replies travel as a codec encodes them, instead of as JSON. An error that answers
// a request stays JSON, of the content type application/problem+json. Both sides need the same codec, and a change of it
// breaks them. [Text] and [Bytes] are codecs; package protobuf, a module of its own, has another.
func Encoded(c Codec) ContractOption {
	return func(s *Spec) error {
		switch {
		case c.ContentType == "" || c.Encode == nil || c.Decode == nil || (c.ToJSON == nil) != (c.FromJSON == nil):
			return errors.New("Encoded: the codec needs ContentType, Encode and Decode, and both or neither of ToJSON and FromJSON")
		case len(c.ContentType) > maxShortString || isProblem(c.ContentType):
			return fmt.Errorf("Encoded: the content type %q is longer than %d bytes, or that of errors", c.ContentType, maxShortString)
		}
		s.Codec = &c
		return nil
	}
}

// Text is the codec of plain text in UTF-8: for strings, and types of that kind. Their JSON is a string.
func Text() Codec { return plain("text/plain; charset=utf-8", reflect.TypeFor[string]()) }

// Bytes is the codec of payloads that are []byte, or a type of that kind, and travel as they are. Their JSON is a string in
// base64. Set ContentType where it is known: "image/png".
func Bytes() Codec { return plain("application/octet-stream", reflect.TypeFor[[]byte]()) }

func plain(contentType string, like reflect.Type) Codec {
	copied := func(text []byte) ([]byte, error) {
		if like.Kind() == reflect.String && !utf8.Valid(text) {
			return nil, errors.New("it is not UTF-8")
		}
		return append([]byte{}, text...), nil
	}
	return Codec{
		ContentType: contentType,
		Encode: func(pointer any) ([]byte, error) {
			return copied(reflect.ValueOf(pointer).Elem().Convert(reflect.TypeFor[[]byte]()).Bytes())
		},
		Decode: func(body []byte, pointer any) error {
			text, err := copied(body)
			v := reflect.ValueOf(pointer).Elem()
			v.Set(reflect.ValueOf(text).Convert(v.Type()))
			return err
		},
		Check: func(t reflect.Type) error {
			if t.Kind() != like.Kind() || !t.ConvertibleTo(like) {
				return fmt.Errorf("%s is for payloads and replies of type %v, not %v", contentType, like, t)
			}
			return nil
		},
	}
}

// invalid returns an error with the code InvalidArgument; nil where there is none.
func invalid(err error, what string) error {
	if err == nil {
		return nil
	}
	return Errorf(InvalidArgument, "%s: %w", what, err)
}

// encode returns the body of what a pointer leads to. It is never nil: a [Message] whose Body is nil has not been encoded.
func (c *Codec) encode(pointer any) ([]byte, error) {
	if c == nil {
		return encode(pointer)
	}
	if v := reflect.ValueOf(pointer).Elem(); isNil(v.Interface()) {
		return nil, Errorf(InvalidArgument, "a nil %v cannot be sent", v.Type())
	}
	body, err := c.Encode(pointer)
	if body == nil {
		body = []byte{}
	}
	return body, invalid(err, "cannot be encoded as "+c.ContentType)
}

func (c *Codec) decode(body []byte, into any, open bool) error {
	if c == nil {
		return decode(body, into, open)
	}
	return invalid(c.Decode(body, into), "the body is not "+c.ContentType)
}

// json returns a payload or a reply as JSON: from its body, or, where that is nil, from a pointer to its value.
func (c *Codec) json(t reflect.Type, body []byte, value any) ([]byte, error) {
	if c != nil && body != nil {
		value = reflect.New(t).Interface()
		if err := c.decode(body, value, false); err != nil {
			return nil, err
		}
		body = nil
	}
	switch {
	case body != nil || value == nil:
		return body, nil
	case c == nil || c.ToJSON == nil:
		return encode(value)
	default:
		text, err := c.ToJSON(value)
		return text, invalid(err, "there is no JSON of it")
	}
}

// ContentType returns the content_type of the contract's messages, and of its replies but errors.
func (s Spec) ContentType() string {
	if s.Codec == nil {
		return contentTypeJSON
	}
	return s.Codec.ContentType
}

// Encode returns the body of a payload or a reply, given a pointer to it; Decode decodes a body into one. They validate
// nothing. Their errors have the code InvalidArgument.
func (s Spec) Encode(pointer any) ([]byte, error) { return s.Codec.encode(pointer) }

// Decode is the reverse of [Spec.Encode].
func (s Spec) Decode(body []byte, pointer any) error {
	return s.Codec.decode(body, pointer, holdsAny(reflect.TypeOf(pointer)))
}
