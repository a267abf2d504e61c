package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/schema"
)

type money struct {
	Amount   int64  `json:"amount" jsonschema:"minimum=0"`
	Currency string `json:"currency" jsonschema:"pattern=^[A-Z]{3}$"`
}

type line struct {
	SKU      string `json:"sku"`
	Quantity int32  `json:"quantity" jsonschema:"minimum=1"`
}

type order struct {
	OrderID  string            `json:"order_id" jsonschema:"format=uuid"`
	Lines    []line            `json:"lines" jsonschema:"minItems=1"`
	Total    money             `json:"total"`
	Channel  string            `json:"channel,omitempty" jsonschema:"enum=web,enum=shop"`
	Tip      *money            `json:"tip"`
	Note     *string           `json:"note,omitempty"`
	PlacedAt time.Time         `json:"placed_at,omitzero"`
	Trace    uuid.UUID         `json:"trace,omitzero"`
	Labels   map[string]string `json:"labels,omitempty"`
	Raw      json.RawMessage   `json:"raw,omitempty"`
}

func (o order) Validate() error {
	if o.Total.Currency == "XXX" {
		return errors.New("total.currency: XXX is no currency")
	}
	return nil
}

type node struct {
	Name     string  `json:"name"`
	Children []*node `json:"children,omitempty"`
}

func of(t *testing.T, v any) *schema.Schema {
	t.Helper()
	s, err := schema.Of(reflect.TypeOf(v))
	require.NoError(t, err)
	return s
}

const valid = `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":1}],"total":{"amount":5,"currency":"EUR"},"tip":null}`

func TestCheck(t *testing.T) {
	t.Parallel()
	s := of(t, order{})
	for _, c := range []struct{ name, body, want string }{
		{"valid", valid, ""},
		{"with everything", `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":1}],"total":{"amount":5,"currency":"EUR"},
			"tip":{"amount":1,"currency":"EUR"},"note":"x","placed_at":"2026-01-02T15:04:05Z","trace":"01938c3e-8a41-7000-8000-000000000001","labels":{"a":"b"},"raw":[1]}`, ""},
		{"empty", ``, "the payload is empty; it must be a JSON value"},
		{"null", `null`, "the payload is null; it must be a JSON value"},
		{"no UTF-8", "{\"order_id\":\"Z\xfcrich\"}", "the payload is not valid UTF-8: byte 15 is 0xfc"},
		{"no UTF-8 at its end", "{\"order_id\":\"\xe2\x82", "the payload is not valid UTF-8: byte 14 is 0xe2"},
		{"cut off", `{"order_id":`, "the payload is not JSON: it ends too early"},
		{"no JSON", "{\n  order_id: 1}", "the payload is not JSON: invalid character 'o' looking for beginning of object key string at line 2, column 3"},
		{"trailing", `{} {}`, "the payload is not JSON: invalid character after top-level value"},
		{"another type", `[]`, "must be an object, is an array"},
		{"missing", `{"lines":[{"sku":"a","quantity":1}],"total":{"amount":5,"currency":"EUR"},"tip":null}`, "order_id: is missing"},
		{
			"deep", `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":0}],"total":{"amount":"5","currency":"EUR"},"tip":null}`,
			"lines[0].quantity: must be >= 1, is 0; total.amount: must be an integer, is a string",
		},
		{
			"in a pointer", `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":1}],"total":{"amount":5,"currency":"EUR"},"tip":{"amount":-1,"currency":"EUR"}}`,
			"tip.amount: must be >= 0, is -1",
		},
		{
			"a fraction", `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":1.5}],"total":{"amount":5,"currency":"EUR"},"tip":null}`,
			"lines[0].quantity: must be a whole number, is 1.5",
		},
		{
			"too large for Go", `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":5000000000}],"total":{"amount":5,"currency":"EUR"},"tip":null}`,
			"lines[0].quantity: must be <= 2147483647, is 5000000000",
		},
		{
			"enum", `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":1}],"total":{"amount":5,"currency":"EUR"},"tip":null,"channel":"fax"}`,
			`channel: must be one of "web", "shop", is "fax"`,
		},
		{
			"format", `{"order_id":"7","lines":[],"total":{"amount":5,"currency":"eur"},"tip":null,"placed_at":"today"}`,
			`lines: must have at least 1 item, has 0; order_id: must be a uuid, is "7"; placed_at: must be a date-time, is "today"; total.currency: must match ^[A-Z]{3}$, is "eur"`,
		},
		{
			"Validate", `{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":1}],"total":{"amount":5,"currency":"XXX"},"tip":null}`,
			"total.currency: XXX is no currency",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			unknown, err := s.Check([]byte(c.body))
			require.Empty(t, unknown)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.want)
		})
	}
}

func TestUnknownFieldsAreAcceptedAndNamed(t *testing.T) {
	t.Parallel()
	unknown, err := of(t, order{}).Check([]byte(`{"order_id":"01938c3e-8a41-7000-8000-000000000001","lines":[{"sku":"a","quantity":1,"qty":2}],
		"total":{"amount":5,"currency":"EUR"},"tip":{"amount":1,"currency":"EUR","curency":"x"},"chanel":"web","elephant":1,"labels":{"any":"thing"}}`))
	require.NoError(t, err)
	var texts []string
	for _, u := range unknown {
		texts = append(texts, u.String())
	}
	require.Equal(t, []string{
		"chanel: is not a field of the payload; did you mean channel?",
		"elephant: is not a field of the payload",
		"lines[0].qty: is not a field of the payload",
		"tip.curency: is not a field of the payload; did you mean currency?",
	}, texts)
}

func TestOtherTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value      any
		good, bad  string
		wantInvald string
	}{
		{node{}, `{"name":"a","children":[{"name":"b"}]}`, `{"name":"a","children":[{}]}`, "children[0].name: is missing"},
		{"", `"x"`, `1`, "must be a string, is a number"},
		{[]line{}, `[{"sku":"a","quantity":1}]`, `[{"sku":1,"quantity":1}]`, "[0].sku: must be a string, is a number"},
		{map[string]int{}, `{"a":1}`, `{"a":"b"}`, "a: must be an integer, is a string"},
		{&order{}, valid, `{}`, "lines: is missing; order_id: is missing; tip: is missing; total: is missing"},
		{struct {
			A string `json:"a"`
		}{}, `{"a":""}`, `{}`, "a: is missing"},
	} {
		s := of(t, c.value)
		_, err := s.Check([]byte(c.good))
		require.NoError(t, err)
		_, err = s.Check([]byte(c.bad))
		require.EqualError(t, err, c.wantInvald)
	}
}

func TestExampleOfAnything(t *testing.T) {
	t.Parallel()
	s, err := schema.Of(reflect.TypeFor[any]())
	require.NoError(t, err)
	_, err = s.Check(s.Example())
	require.NoError(t, err)
}

func TestExampleOfALargeBound(t *testing.T) {
	t.Parallel()
	type large struct {
		Above   int64       `json:"above" jsonschema:"exclusiveMinimum=9007199254740992"`
		Least   int64       `json:"least" jsonschema:"minimum=9007199254740993"`
		Between json.Number `json:"between" jsonschema:"exclusiveMinimum=-1.5"`
	}
	s := of(t, large{})
	_, err := s.Check(s.Example())
	require.NoError(t, err, "%s", s.Example())
}

func TestExampleFits(t *testing.T) {
	t.Parallel()
	for _, v := range []any{order{}, node{}, line{}, everything{}, "", []line{}, map[string]int{}, map[int]bool{}} {
		s := of(t, v)
		unknown, err := s.Check(s.Example())
		require.NoError(t, err, "%s\n%s", s.Example(), s.JSON())
		require.Empty(t, unknown)
	}
}

type page[T any] struct {
	Items []*T `json:"items"`
}

// everything is what encoding/json can do and a schema may get wrong.
type everything struct {
	page[node]
	Quoted   int              `json:"quoted,string"`
	ByNumber map[int]string   `json:"by_number"`
	ByName   map[string]*line `json:"by_name"`
	Bytes    []byte           `json:"bytes"`
	Took     time.Duration    `json:"took"`
	Small    int8             `json:"small"`
	Unsigned uint             `json:"unsigned"`
	Any      any              `json:"any"`
	Number   json.Number      `json:"number"`
	Float    float32          `json:"float"`
	Pair     [2]int           `json:"pair"`
	Hidden   int              `json:"-"`
	Untagged bool
	Inline   struct {
		X int `json:"x"`
	} `json:"inline"`
	Generic  page[line] `json:"generic"`
	Twice    **int      `json:"twice"`
	Optional *int       `json:"optional,omitempty"`
	Nested   [][]line   `json:"nested"`
}

func TestWhatGoWritesFits(t *testing.T) {
	t.Parallel()
	s := of(t, everything{})
	seven := 7
	pointer := &seven
	full := everything{
		page: page[node]{[]*node{{Name: "a"}, nil}}, Quoted: -5, ByNumber: map[int]string{-1: "a"}, ByName: map[string]*line{"a": {"a", 1}, "b": nil},
		Bytes: []byte("x"), Took: time.Second, Small: -128, Unsigned: 1, Any: []any{1, nil}, Number: "1.5", Float: 1.5, Generic: page[line]{[]*line{{"a", 1}}},
		Twice: &pointer, Optional: pointer, Nested: [][]line{{{"a", 1}}, {}},
	}
	body, err := json.Marshal(full)
	require.NoError(t, err)
	unknown, err := s.Check(body)
	require.NoError(t, err, "%s\n%s", body, s.JSON())
	require.Empty(t, unknown)
	require.NotContains(t, string(s.JSON()), "schema_test", "a generic type's name has no packages in it")

	for field, want := range map[string]string{
		`"small":128`:   "small: must be <= 127, is 128",
		`"unsigned":-1`: "unsigned: must be >= 0, is -1",
		`"took":1.5`:    "took: must be a whole number, is 1.5",
		`"took":1.0`:    "took: must be an integer, without a decimal point, is 1.0",
		`"took":1e3`:    "took: must be an integer, without an exponent, is 1e3",
		`"float":1e39`:  "float: 1e39 does not fit its type (float32)",
		`"nested":[[],[{"sku":"a","quantity":1},{"sku":"b","quantity":2.0}]]`: "nested[1][1].quantity: must be an integer, without a decimal point, is 2.0",
		`"by_name":{"a":{"sku":"a","quantity":1.0}},"any":[1.0]`:              "by_name.a.quantity: must be an integer, without a decimal point, is 1.0",
		`"took":9e99999999`:                                   "took: must be an integer, without an exponent, is 9e99999999",
		`"optional":"x"`:                                      "optional: must be an integer, is a string",
		`"nested":[[],[{}]]`:                                  "nested[1][0].quantity: is missing; nested[1][0].sku: is missing",
		`"by_name":{"a":{"sku":"a","quantity":0}}`:            "by_name.a.quantity: must be >= 1, is 0",
		`"items":[null,{"name":"a","children":[{"name":3}]}]`: "items[1].children[0].name: must be a string, is a number",
		`"pair":[1]`:                                          "pair: must have at least 2 items, has 1",
		`"nested":3`:                                          "nested: must be an array, is a number",
		`"pair":null`:                                         "pair: must be an array, is null",
	} {
		changed := string(body[:len(body)-1]) + "," + field + "}" // of two values the last one counts
		_, err := s.Check([]byte(changed))
		require.EqualError(t, err, want, field)
	}
}

func TestSchemaOfARecursiveTypeKeepsItsDefinition(t *testing.T) {
	t.Parallel()
	var document struct {
		Type string                     `json:"type"`
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(of(t, node{}).JSON(), &document))
	require.Equal(t, "object", document.Type)
	require.Contains(t, document.Defs, "node")
	require.NoError(t, json.Unmarshal(of(t, line{}).JSON(), &document))
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"order.place", "order.placed", "payment.authorize"}
	require.Equal(t, "order.place", schema.Nearest("order.plce", names))
	require.Equal(t, "payment.authorize", schema.Nearest("payment.authorise", names))
	require.Equal(t, "order.placed", schema.Nearest("order-placed", names))
	require.Empty(t, schema.Nearest("user", names))
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(valid))
	f.Add([]byte(`{"lines":[null,{"a":[]}],"tip":3}`))
	s, err := schema.Of(reflect.TypeFor[order]())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := s.Check(body); err == nil {
			var o order
			require.NoError(t, json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &o))
		}
	})
}
