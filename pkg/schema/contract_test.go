package schema_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// TestBodiesOfText: a text, which is a JSON string for people.
func TestBodiesOfText(t *testing.T) {
	t.Parallel()
	s, err := schema.Payload(leveret.NewCommand[string]("a.say", leveret.Encoded(leveret.Text())).Spec())
	require.NoError(t, err)
	text, err := s.FromBody([]byte("<é>\n"))
	require.NoError(t, err)
	require.Equal(t, `"<é>\n"`, string(text))
	body, err := s.ToBody([]byte("\ufeff \"<é>\\n\" "))
	require.NoError(t, err)
	require.Equal(t, "<é>\n", string(body))
	_, err = s.FromBody([]byte("\xff"))
	require.Error(t, err)
	for _, wrong := range []string{"", "null", "text", `"a" "b"`, "7", "\"\xff\"", "{}"} {
		_, err := s.ToBody([]byte(wrong))
		require.Error(t, err, "%q", wrong)
	}
	_, err = s.Check([]byte("7"))
	require.EqualError(t, err, "must be a string, is a number")

	plain, err := schema.Payload(leveret.NewCommand[string]("a.say").Spec())
	require.NoError(t, err)
	body, err = plain.ToBody([]byte(" not even JSON"))
	require.NoError(t, err)
	require.Equal(t, " not even JSON", string(body), "without a codec nothing is changed")
	require.JSONEq(t, string(plain.JSON()), string(s.JSON()))
}

// shouted is a payload whose codec has a JSON and a schema of its own.
type shouted struct{ Text string }

func shouting(document string) leveret.Codec {
	return leveret.Codec{
		ContentType: "text/x-shout",
		Encode: func(pointer any) ([]byte, error) {
			v, _ := pointer.(*shouted)
			return []byte(strings.ToUpper(v.Text)), nil
		},
		Decode: func(body []byte, pointer any) error {
			v, _ := pointer.(*shouted)
			v.Text = strings.ToLower(string(body))
			return nil
		},
		ToJSON: func(pointer any) ([]byte, error) {
			v, _ := pointer.(*shouted)
			return json.Marshal(map[string]any{"say": map[string]string{"what": v.Text}})
		},
		FromJSON: func(text []byte, pointer any) error {
			v, _ := pointer.(*shouted)
			var given struct{ Say struct{ What string } }
			if err := json.Unmarshal(text, &given); err != nil {
				return err
			}
			if v.Text = given.Say.What; v.Text == "" {
				return errors.New("quoting swordfish")
			}
			return nil
		},
		Schema: func(reflect.Type) ([]byte, error) { return []byte(document), nil },
	}
}

// TestSchemaOfACodec: what is writeOnly in it is secret, wherever it stands.
func TestSchemaOfACodec(t *testing.T) {
	t.Parallel()
	spec := func(document string) leveret.Spec {
		return leveret.NewCommand[shouted]("a.shout", leveret.Encoded(shouting(document))).Spec()
	}
	s, err := schema.Payload(spec(`{"type":"object","properties":{"say":{"$ref":"#/$defs/say"}},
		"$defs":{"say":{"type":"object","properties":{"what":{"type":"string","title":"quoi","writeOnly":true},"next":{"$ref":"#/$defs/say"},
			"all":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/say"},{"type":"null"}]}},
			"one":{"type":"string","$comment":"oneof x"},"two":{"type":"string","$comment":"oneof x"},
			"named":{"type":"object","additionalProperties":{"type":"string"}}}}}}`))
	require.NoError(t, err)
	require.True(t, s.HasSecrets())
	text, err := s.FromBody([]byte("HEY"))
	require.NoError(t, err)
	require.JSONEq(t, `{"say":{"what":"[secret]"}}`, string(s.Redact(text)))
	require.JSONEq(t, `{"say":{"all":[{"what":"[secret]"},null],"next":{"what":"[secret]","one":"1"},"named":{"a":"b"},"other":"[secret]"}}`,
		string(s.Redact([]byte(`{"say":{"all":[{"what":"a"},null],"next":{"what":"b","one":"1"},"named":{"a":"b"},"other":"c"}}`))))
	require.JSONEq(t, `{"say":{"what":"[secret]","all":[],"one":"one","named":{"key":"value"}}}`, string(s.Example()))
	unknown, err := s.Check([]byte(`{"say":{"what":"hey","hm":1}}`))
	require.EqualError(t, err, "say.hm: is not a field of the payload", "it would not travel")
	require.Empty(t, unknown)
	_, err = s.Check([]byte(`{"say":{"what":"hey","quoi":"a"}}`))
	require.NoError(t, err, "the title is another name")
	_, err = s.Check([]byte(`{"say":{}}`))
	require.ErrorContains(t, err, "the payload cannot be decoded into schema_test.shouted")
	require.NotContains(t, err.Error(), "swordfish")
	body, err := s.ToBody([]byte(`{"say":{"what":"hey"}}`))
	require.NoError(t, err)
	require.Equal(t, "HEY", string(body))

	s, err = schema.Payload(spec(`{"type":"object"}`))
	require.NoError(t, err)
	require.False(t, s.HasSecrets())
	for _, wrong := range []string{"", "7", "{", `{"type":7}`, `{"$ref":"#/$defs/nowhere"}`} {
		_, err := schema.Payload(spec(wrong))
		require.Error(t, err, wrong)
	}
}
