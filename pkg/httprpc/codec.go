package httprpc

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// codec translates the JSON that travels over HTTP to and from what a contract's codec makes of payloads. A nil codec does
// nothing: the contract has none.
type codec struct {
	payload, reply *schema.Schema
	reads          bool // it reads JSON itself
}

// codecOf returns the codec of a contract. Which fields its payload has is not known, so none can be a parameter.
func codecOf(spec leveret.Spec, p pattern) (*codec, error) {
	if spec.Codec == nil {
		return nil, nil //nolint:nilnil // nil does nothing
	}
	if len(p.params()) > 0 || p.bodyless() {
		return nil, fmt.Errorf("the pattern %q has parameters, or no body; a payload that travels as %s elsewhere must be the body", p.text, spec.ContentType())
	}
	payload, err := schema.Payload(spec)
	if err != nil {
		return nil, err
	}
	reply, err := schema.Reply(spec)
	return &codec{payload, reply, spec.Codec.FromJSON != nil}, err
}

// own reports whether the codec reads JSON itself, so that the Go type does not say which fields there are.
func (c *codec) own() bool { return c != nil && c.reads }

// encode returns the body of a message. Strictly, the JSON must fit the contract as what a person writes does.
func (c *codec) encode(text []byte, strict bool) ([]byte, error) {
	if c == nil {
		return text, nil
	}
	if strict {
		if err := misfit(c.payload, text, nil); err != nil {
			return nil, err
		}
	}
	body, err := c.payload.ToBody(text)
	if err != nil {
		return nil, misfit(c.payload, text, errors.New("the body cannot be read"))
	}
	return body, nil
}

// misfit returns why JSON does not fit a contract. Unlike the error of a codec it quotes no secret. Where it fits, the
// error is otherwise.
func misfit(s *schema.Schema, text []byte, otherwise error) error {
	_, err := s.Check(text)
	if err == nil {
		err = otherwise
	}
	if err == nil {
		return nil
	}
	e := &leveret.Error{Code: leveret.InvalidArgument, Message: "the body does not fit: " + err.Error()}
	if all, ok := errors.AsType[*schema.Invalid](err); ok {
		for _, p := range all.Problems {
			if p.Path != "" {
				e.Fields = append(e.Fields, leveret.FieldViolation{Field: p.Path, Detail: p.Message})
			}
		}
	}
	return e
}

// setReply sets the reply of a message, from JSON.
func (c *codec) setReply(m *leveret.Message, text []byte) (err error) {
	m.Reply = text
	if c == nil {
		return nil
	}
	if m.Reply, err = c.reply.ToBody(text); err != nil {
		_, why := c.reply.Check(text) // which quotes no secret
		return leveret.Errorf(leveret.Internal, "%w: the reply to %s does not fit: %w",
			leveret.ErrOutcomeUnknown, m.Contract.Spec().Name, cmp.Or(why, errors.New("it cannot be read")))
	}
	return nil
}
