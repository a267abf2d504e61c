package leveret

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

type purchase struct {
	ID    string            `json:"id"`
	Count int8              `json:"count"`
	Price money             `json:"price"`
	Lines []money           `json:"lines"`
	Notes map[string]string `json:"notes"`
	At    time.Time         `json:"at"`
	Maybe *bool             `json:"maybe"`
	Rate  float32           `json:"rate"`
}

func (p purchase) Validate() error {
	switch {
	case p.Count < 0:
		return errors.New("count: must not be negative")
	case p.ID == "later":
		return Errorf(Unavailable, "ask again")
	default:
		return nil
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                              "invalid_argument: the body is empty; it must be a JSON value",
		" \n\t":                         "invalid_argument: the body is empty; it must be a JSON value",
		"null":                          "invalid_argument: the body is null; it must be a JSON value",
		" null ":                        "invalid_argument: the body is null; it must be a JSON value",
		`{"id":`:                        "invalid_argument: the body is not JSON: unexpected end of JSON input (at byte 6)",
		`{"id":"x"} {}`:                 "invalid_argument: the body is not JSON: invalid character '{' after top-level value (at byte 12)",
		`<order/>`:                      "invalid_argument: the body is not JSON: invalid character '<' looking for beginning of value (at byte 1)",
		`[]`:                            "invalid_argument: the body must be a JSON object, not an array",
		`7`:                             "invalid_argument: the body must be a JSON object, not a number",
		`{"id":7}`:                      "invalid_argument: id: must be a JSON string, not a number",
		`{"count":300}`:                 "invalid_argument: count: must be a JSON integer (int8), not a number 300",
		`{"count":1.5}`:                 "invalid_argument: count: must be a JSON integer (int8), not a number 1.5",
		`{"count":-1}`:                  "invalid_argument: count: must not be negative",
		`{"id":"later"}`:                "unavailable: ask again",
		`{"price":{"amount":"7"}}`:      "invalid_argument: price.amount: must be a JSON integer (int64), not a string",
		`{"lines":[{"amount":true}]}`:   "invalid_argument: lines.amount: must be a JSON integer (int64), not a bool",
		`{"lines":{}}`:                  "invalid_argument: lines: must be a JSON array, not an object",
		`{"notes":{"a":1}}`:             "invalid_argument: notes: must be a JSON string, not a number",
		`{"maybe":"yes"}`:               "invalid_argument: maybe: must be a JSON boolean, not a string",
		`{"rate":"x"}`:                  "invalid_argument: rate: must be a JSON number, not a string",
		`{"at":"yesterday"}`:            `invalid_argument: the body cannot be decoded: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`,
		"{\"id\":\"a\xffb\"}":           "invalid_argument: the body is not UTF-8 (at byte 8)",
		"\xef\xbb\xbf":                  "invalid_argument: the body is empty; it must be a JSON value",
		"\xef\xbb\xbf\xef\xbb\xbf{}":    "invalid_argument: the body is not JSON: invalid character 'ï' looking for beginning of value (at byte 1)",
		"\xff\xfe{\x00}\x00":            "invalid_argument: the body looks like UTF-16; it must be UTF-8",
		"\xfe\xff\x00{\x00}":            "invalid_argument: the body looks like UTF-16; it must be UTF-8",
		"{\x00}\x00":                    "invalid_argument: the body looks like UTF-16; it must be UTF-8",
		"\x00\x00\x00{\x00\x00\x00}":    "invalid_argument: the body looks like UTF-32; it must be UTF-8",
		"{\x00\x00\x00}\x00\x00\x00":    "invalid_argument: the body looks like UTF-32; it must be UTF-8",
		"\xff\xfe\x00\x00{\x00\x00\x00": "invalid_argument: the body looks like UTF-32; it must be UTF-8",
		"\x00\x00\xfe\xff\x00\x00\x00{": "invalid_argument: the body looks like UTF-32; it must be UTF-8",
		"\x00":                          `invalid_argument: the body is not JSON: invalid character '\x00' looking for beginning of value (at byte 1)`,
		"\x00\x00\x00\x00":              `invalid_argument: the body is not JSON: invalid character '\x00' looking for beginning of value (at byte 1)`,
		"\xfe{}":                        "invalid_argument: the body is not UTF-8 (at byte 0)",
		"\x1f\x8b\x08":                  "invalid_argument: the body is not UTF-8 (at byte 1)",
		strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000): "invalid_argument: the body is not JSON: invalid character '[' exceeded max depth (at byte 10001)",
		`{"x":` + strings.Repeat(`{"x":`, 20_000):                 "invalid_argument: the body is not JSON: invalid character '{' exceeded max depth (at byte 50001)",
	} {
		_, err := decodePayload[purchase](&contractBase{spec: &Spec{}}, []byte(body))
		require.Error(t, err, "%.40q", body)
		require.Equal(t, want, err.Error(), "%.40q", body)
	}
}

func TestDecodeAccepts(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]purchase{
		`{}`:                            {},
		" \r\n{\"id\":\"x\"}\n":         {ID: "x"},
		`{"id":"x","unknown":[1,{}]}`:   {ID: "x"}, // a sender may be newer
		`{"id":"a","id":"b"}`:           {ID: "b"}, // the last counts
		`{"ID":"x"}`:                    {ID: "x"},
		`{"id":null,"price":null}`:      {},
		`{"id":"\ud800"}`:               {ID: "\ufffd"}, // half of a surrogate pair is JSON, and no character
		`{"price":{"amount":12345678}}`: {Price: money{Amount: 12345678}},
		"\xef\xbb\xbf {\"id\":\"x\"}":   {ID: "x"},
	} {
		got, err := decodePayload[purchase](&contractBase{spec: &Spec{}}, []byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, got, body)
	}
	_, err := decodePayload[json.RawMessage](&contractBase{spec: &Spec{}}, []byte(strings.Repeat("[", 9000)+strings.Repeat("]", 9000)))
	require.NoError(t, err, "deep, and nobody looks into it")
}

// A null sets nothing, also after a value; but what can be nil in Go is nil then.
func TestDecodeNull(t *testing.T) {
	t.Parallel()
	type fields struct {
		Text   string
		Number int
		At     time.Time
		Object struct{ N int }
		List   []int
		Map    map[string]int
		Maybe  *int
	}
	for body, want := range map[string]fields{
		`{"text":"x","text":null}`:                {Text: "x"},
		`{"number":7,"NUMBER":null}`:              {Number: 7},
		`{"object":{"n":1},"object":null}`:        {Object: struct{ N int }{1}},
		`{"object":{"n":1,"n":null}}`:             {Object: struct{ N int }{1}},
		`{"at":"2026-01-02T15:04:05Z","at":null}`: {At: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)},
		`{"list":[1],"list":null}`:                {},
		`{"list":[null,2]}`:                       {List: []int{0, 2}},
		`{"map":{"a":1},"map":null}`:              {},
		`{"maybe":1,"maybe":null}`:                {},
	} {
		got, err := decodePayload[fields](&contractBase{spec: &Spec{}}, []byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, got, body)
	}
}

type pointed struct{ N int }

func (p *pointed) Validate() error {
	if p.N == 0 {
		return errors.New("n: must be set")
	}
	return nil
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, validate(&purchase{}))
	require.ErrorIs(t, validate(&purchase{Count: -1}), InvalidArgument)
	require.ErrorIs(t, validate(&purchase{ID: "later"}), Unavailable)
	require.ErrorIs(t, validate(&pointed{}), InvalidArgument, "a pointer's method, a value as payload")
	p := &pointed{}
	require.ErrorIs(t, validate(&p), InvalidArgument, "a pointer as payload")
	p = nil
	require.ErrorIs(t, validate(&p), InvalidArgument, "a nil pointer")
	n := 7
	require.NoError(t, validate(&n))
}

func TestEncode(t *testing.T) {
	t.Parallel()
	body, err := encode(&money{1, "EUR"})
	require.NoError(t, err)
	require.JSONEq(t, `{"amount":1,"currency":"EUR"}`, string(body))
	for _, bad := range []any{new(any), new(*money), new(map[string]any), new(chan int), &[]any{func() {}}} {
		_, err := encode(bad)
		require.ErrorIs(t, err, InvalidArgument, "%T", bad)
	}
	_, err = encode(new(map[string]any))
	require.EqualError(t, err, "invalid_argument: a nil map[string]interface {} cannot be sent")
	body, err = encode(&[]int{})
	require.NoError(t, err)
	require.Equal(t, "[]", string(body))
}

// Methods of pointers are called by encoding as by decoding: otherwise a big.Int would be sent as {}.
func TestMethodsOfPointersEncode(t *testing.T) {
	t.Parallel()
	type account struct {
		Balance big.Int
	}
	c := NewRequest[account, account]("bank.account")
	var a account
	a.Balance.SetString("36893488147419103232", 10)
	m, err := c.Message(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, `{"Balance":36893488147419103232}`, string(m.Body))
	back, err := c.Decode(m.Body)
	require.NoError(t, err)
	require.Equal(t, a, back)
}

// open is a payload of anything.
type open struct {
	ID     uint64         `json:"id"`
	Any    any            `json:"any"`
	List   []any          `json:"list"`
	Fields map[string]any `json:"fields"`
	Float  float64        `json:"float"`
	Next   *open          `json:"next,omitempty"`
}

// Numbers keep their digits wherever a type leaves open what they are, and what was decoded encodes to the same text.
func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	const body = `{"id":18446744073709551615,"any":1541815603606036481,"list":[9007199254740993,-9223372036854775808,1.10,1e400,{"a":18446744073709551615}],` +
		`"fields":{"n":1541815603606036482},"float":1.5,"next":{"id":0,"any":36893488147419103232,"list":null,"fields":null,"float":0}}`
	c := NewRequest[open, any]("test.open")
	got, err := c.Decode([]byte(body))
	require.NoError(t, err)
	require.Equal(t, json.Number("1541815603606036481"), got.Any)
	again, err := c.Message(t.Context(), got)
	require.NoError(t, err)
	require.Equal(t, body, string(again.Body))

	reply, err := c.reply(&Message{Reply: []byte("\ufeff[1541815603606036481]")})
	require.NoError(t, err)
	require.Equal(t, []any{json.Number("1541815603606036481")}, reply)

	var handled any
	h := handlerOf(func(_ context.Context, payload any) error { handled = payload; return nil })
	require.NoError(t, h(t.Context(), &Message{Contract: NewCommand[any]("test.do"), Body: []byte("1541815603606036481")}))
	require.Equal(t, json.Number("1541815603606036481"), handled)

	for body, want := range map[string]string{
		`{"any":1} {}`:       "invalid_argument: the body is not JSON: invalid character '{' after top-level value (at byte 11)",
		`{"any":1`:           "invalid_argument: the body is not JSON: unexpected end of JSON input (at byte 8)",
		`{"any":1,"id":-1}`:  "invalid_argument: id: must be a JSON integer (uint64), not a number -1",
		`{"any":1,"id":"1"}`: "invalid_argument: id: must be a JSON integer (uint64), not a string",
		`{"float":1e400}`:    "invalid_argument: float: must be a JSON number, not a number 1e400",
	} {
		_, err := c.Decode([]byte(body))
		require.EqualError(t, err, want, body)
	}
}

type (
	tree     struct{ Children []tree }
	hidden   struct{ C chan int }
	channel  chan int //nolint:unused // as private below
	ignoring struct {
		Skipped chan int `json:"-"`
		private chan int //nolint:unused // must be there and be ignored
		channel          //nolint:unused // as private
		Kept    int
	}
	named     [2]byte
	ownWay    struct{ C chan int }
	ownReader struct{ R io.Reader }
)

func (n named) MarshalText() ([]byte, error)    { return n[:], nil }
func (o ownWay) MarshalJSON() ([]byte, error)   { return []byte("1"), nil }
func (o *ownReader) UnmarshalJSON([]byte) error { return nil }

func TestEncodable(t *testing.T) {
	t.Parallel()
	for _, fine := range []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[purchase](), reflect.TypeFor[*purchase](), reflect.TypeFor[tree](), reflect.TypeFor[any](),
		reflect.TypeFor[json.RawMessage](), reflect.TypeFor[time.Time](), reflect.TypeFor[map[int]string](), reflect.TypeFor[map[named]string](),
		reflect.TypeFor[ignoring](), reflect.TypeFor[ownWay](), reflect.TypeFor[ownReader](), reflect.TypeFor[struct{}](), reflect.TypeFor[[]map[uint8]any](),
	} {
		require.NoError(t, encodable(fine), "%v", fine)
	}
	for bad, want := range map[reflect.Type]string{
		reflect.TypeFor[chan int]():                      "chan int is a chan, which JSON cannot carry",
		reflect.TypeFor[hidden]():                        "leveret.hidden.C is a chan, which JSON cannot carry",
		reflect.TypeFor[struct{ F func() }]():            "struct { F func() }.F is a func, which JSON cannot carry",
		reflect.TypeFor[[]complex128]():                  "[]complex128 is a complex128, which JSON cannot carry",
		reflect.TypeFor[map[float64]int]():               "map[float64]int has keys of type float64, which JSON cannot carry",
		reflect.TypeFor[map[money]int]():                 "map[leveret.money]int has keys of type leveret.money, which JSON cannot carry",
		reflect.TypeFor[struct{ In map[string]error }](): "struct { In map[string]error }.In is the interface error, which JSON cannot be decoded into",
		reflect.TypeFor[io.Reader]():                     "io.Reader is the interface io.Reader, which JSON cannot be decoded into",
		reflect.TypeFor[struct{ hidden }]():              "struct { leveret.hidden }.hidden.C is a chan, which JSON cannot carry",
	} {
		require.EqualError(t, encodable(bad), want)
	}
}

// FuzzDecode: whatever a body holds, it is decoded or an InvalidArgument that can be shown.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{``, `null`, `{}`, `{"id":"x","count":1,"price":{"amount":1}}`, `{"count":300}`, `[[[[`, "\xff", `{"at":"x"}`, `1e999`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodePayload[purchase](&contractBase{spec: &Spec{}}, body)
		if err == nil {
			again, err := encode(&p)
			require.NoError(t, err)
			require.NoError(t, decode(again, &p, false))
			return
		}
		require.Contains(t, []Code{InvalidArgument, Unavailable}, CodeOf(err))
		require.NotEmpty(t, messageOf(err))
	})
}
