package httprpc

import (
	"fmt"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// codec translates the JSON that travels over HTTP to and from what a contract's codec makes of payloads. A nil codec does
// nothing: the contract has none.
type codec struct{ payload, reply *schema.Schema }

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
	return &codec{payload, reply}, err
}

// encode returns the body of a message.
func (c *codec) encode(text []byte) ([]byte, error) {
	if c == nil {
		return text, nil
	}
	body, err := c.payload.ToBody(text)
	if err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "the body does not fit: %w", err)
	}
	return body, nil
}

// setReply sets the reply of a message, from JSON.
func (c *codec) setReply(m *leveret.Message, text []byte) (err error) {
	m.Reply = text
	if c == nil {
		return nil
	}
	if m.Reply, err = c.reply.ToBody(text); err != nil {
		return leveret.Errorf(leveret.Internal, "%w: the reply to %s does not fit: %w", leveret.ErrOutcomeUnknown, m.Contract.Spec().Name, err)
	}
	return nil
}
