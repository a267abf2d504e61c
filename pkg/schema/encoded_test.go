package schema_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// colour is a number that is written as a text.
type colour int8

func (c colour) MarshalText() ([]byte, error) { return []byte("colour-" + strconv.Itoa(int(c))), nil }

func (c *colour) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(strings.TrimPrefix(string(text), "colour-"), 10, 8)
	*c = colour(n)
	return err
}

// span encodes itself, by methods of its pointer.
type span struct{ from, to int64 }

func (s *span) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "[%d,%d]", s.from, s.to), nil }

func (s *span) UnmarshalJSON(text []byte) error {
	var ends [2]int64
	err := json.Unmarshal(text, &ends)
	s.from, s.to = ends[0], ends[1]
	return err
}

type (
	label   string
	octet   uint8
	octets  []octet
	flags   map[string]bool
	Point   struct{ X, Y int }
	private struct {
		Inside  int
		Shadows bool
	}
	unseen int //nolint:unused // encoding/json leaves it out, as private
	One    struct {
		Both  int
		Ident string `json:"ident"`
	}
	Two struct {
		Both  string
		Count []int `json:"count"`
	}
)

// anything is what Go encodes in ways of its own.
type encoded struct {
	*Point
	private
	unseen //nolint:unused // must be there and be left out
	One
	Two
	Shadows string
	Ident   float64 `json:"ident"`

	Ints       []int   `json:"ints"`
	Words      []label `json:"words,omitempty"`
	Bytes      []byte  `json:"bytes"`
	Octets     octets  `json:"octets"`
	Fixed      [3]byte `json:"fixed"`
	Flags      flags   `json:"flags"`
	Lists      map[string][]*int
	ByColour   map[colour]string    `json:"by_colour"`
	ByUUID     map[uuid.UUID]int    `json:"by_uuid,omitzero"`
	ByInt      map[int64]any        `json:"by_int"`
	ByUint     map[uint16]flags     `json:"by_uint"`
	ByLabel    map[label]label      `json:"by_label"`
	Colour     colour               `json:"colour"`
	Colours    []colour             `json:"colours"`
	Quoted     int64                `json:"quoted,string"`
	QuotedP    *uint8               `json:"quoted_pointer,string"`
	QuotedF    float64              `json:"quoted_float,string"`
	QuotedB    bool                 `json:"quoted_bool,string"`
	QuotedS    string               `json:"quoted_text,string"`
	QuotedN    json.Number          `json:"quoted_number,string"`
	Span       span                 `json:"span"`
	SpanP      *span                `json:"span_pointer"`
	Raw        json.RawMessage      `json:"raw"`
	Big        big.Int              `json:"big"`
	BigP       *big.Int             `json:"big_pointer"`
	Number     json.Number          `json:"number"`
	Took       time.Duration        `json:"took"`
	At         time.Time            `json:"at"`
	AtZero     time.Time            `json:"at_zero,omitzero"`
	AtP        *time.Time           `json:"at_pointer"`
	ID         uuid.UUID            `json:"id"`
	IDs        []uuid.UUID          `json:"ids"`
	IP         net.IP               `json:"ip"`
	Addr       netip.Addr           `json:"addr"`
	URL        url.URL              `json:"url"`
	Any        any                  `json:"any"`
	Anys       []any                `json:"anys"`
	Fields     map[string]any       `json:"fields"`
	Unsigned   uint64               `json:"unsigned"`
	Small      int8                 `json:"small"`
	Single     float32              `json:"single"`
	Double     float64              `json:"double"`
	Secret     leveret.Secret       `json:"secret"`
	Nested     [][]map[string][]int `json:"nested"`
	Deep       **[]string           `json:"deep"`
	Inline     struct{ A []int }    `json:"inline"`
	Dash       int                  `json:"-,"`        //nolint:staticcheck // that is its point
	Odd        string               `json:"no\"name"`  //nolint:staticcheck // that is its point
	Signs      []int                `json:"a<b>&c~ d"` //nolint:tagliatelle // that is its point
	Next       *encoded             `json:"next,omitempty"`
	Unexported chan int             `json:"-"`
}

// filler fills values at random, often with what is nil, empty or at a bound.
type filler struct{ *rand.Rand }

func (r filler) text() string {
	texts := []string{"", "a", "ü€😀", `"quoted" \`, "\x00\u2028", "null", "01938c3e-8a41-7000-8000-000000000001", strings.Repeat("x", r.IntN(200))}
	return texts[r.IntN(len(texts))]
}

func (r filler) number() json.Number {
	numbers := []json.Number{"", "0", "-1", "1.10", "1e400", "18446744073709551615", "-9223372036854775808", "1541815603606036481"}
	return numbers[r.IntN(len(numbers))]
}

func (r filler) any(depth int) any {
	switch r.IntN(8 - min(depth, 3)) {
	case 0:
		return nil
	case 1:
		return r.text()
	case 2:
		return r.number()
	case 3:
		return r.IntN(2) == 0
	case 4:
		return 1.5
	case 5:
		return []any{r.any(depth + 1)}
	default:
		return map[string]any{r.text(): r.any(depth + 1)}
	}
}

// special fills what may not have any value; it returns false of all other types.
func (r filler) special(v reflect.Value) bool {
	var made any
	switch v.Interface().(type) {
	case time.Time:
		made = []time.Time{{}, time.Unix(r.Int64N(1<<37), r.Int64N(1e9)).UTC(), time.Now(), time.Unix(1, 0).In(time.FixedZone("", 5*3600+45*60))}[r.IntN(4)]
	case json.RawMessage:
		made = []json.RawMessage{nil, json.RawMessage(`null`), json.RawMessage(`{"a":[1.10,{}]}`), json.RawMessage(`1541815603606036481`)}[r.IntN(4)]
	case json.Number:
		made = r.number()
	case big.Int:
		var n big.Int
		n.Lsh(big.NewInt(r.Int64()), uint(r.IntN(200)))
		v.Set(reflect.ValueOf(&n).Elem())
		return true
	case net.IP:
		made = []net.IP{nil, net.IPv4(127, 0, 0, 1), net.IPv6loopback}[r.IntN(3)]
	case netip.Addr:
		made = []netip.Addr{{}, netip.IPv6Unspecified()}[r.IntN(2)]
	case url.URL:
		made = url.URL{Scheme: "https", Host: "example.com"}
	case span:
		made = span{r.Int64(), -r.Int64()}
	default:
		return false
	}
	v.Set(reflect.ValueOf(made))
	return true
}

func (r filler) fill(v reflect.Value, depth int) {
	if !v.CanSet() || r.special(v) {
		return
	}
	some := func() int { return r.IntN(3) - depth/4 }
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, r.Int64()}[r.IntN(6)] >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint([]uint64{0, 1 << 63, math.MaxUint64, r.Uint64()}[r.IntN(4)] >> (64 - v.Type().Bits()))
	case reflect.Float32:
		v.SetFloat([]float64{0, math.MaxFloat32, -math.SmallestNonzeroFloat32, 1e21}[r.IntN(4)])
	case reflect.Float64:
		v.SetFloat([]float64{0, math.MaxFloat64, -math.SmallestNonzeroFloat64, 1e21, 0.1}[r.IntN(5)])
	case reflect.String:
		v.SetString(r.text())
	case reflect.Interface:
		if made := r.any(depth); made != nil {
			v.Set(reflect.ValueOf(made))
		}
	case reflect.Pointer:
		if some() > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			r.fill(v.Elem(), depth+1)
		}
	case reflect.Slice:
		if n := some(); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				r.fill(v.Index(i), depth+1)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			r.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		if n := some(); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				r.fill(key, depth+1)
				r.fill(value, depth+1)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			r.fill(field, depth+1)
		}
	default:
	}
}

// checkEncoded checks that a random value of a contract, as Go encodes it, passes Check, and that what is decoded from it
// encodes to the same.
func checkEncoded(tb testing.TB, c *leveret.Command[encoded], s *schema.Schema, seed uint64) {
	tb.Helper()
	var value encoded
	filler{rand.New(rand.NewPCG(seed, 1))}.fill(reflect.ValueOf(&value).Elem(), 0)
	m, err := c.Message(tb.Context(), value)
	require.NoError(tb, err, seed)
	unknown, err := s.Check(m.Body)
	require.NoError(tb, err, "%d: %s", seed, m.Body)
	require.Empty(tb, unknown, "%d: %s", seed, m.Body)
	back, err := c.Decode(m.Body)
	require.NoError(tb, err, "%d: %s", seed, m.Body)
	again, err := c.Message(tb.Context(), back)
	require.NoError(tb, err, seed)
	require.Equal(tb, string(m.Body), string(again.Body), seed)
}

func TestWhatGoEncodesFits(t *testing.T) {
	t.Parallel()
	c := leveret.NewCommand[encoded]("test.encode")
	s := of(t, encoded{})
	for seed := range uint64(100) {
		checkEncoded(t, c, s, seed)
	}
}

func FuzzWhatGoEncodesFits(f *testing.F) {
	f.Add(uint64(1 << 40))
	c := leveret.NewCommand[encoded]("test.encode")
	s, err := schema.Of(reflect.TypeFor[encoded]())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, seed uint64) { checkEncoded(t, c, s, seed) })
}

// What a schema refuses of types that encode in ways of their own.
func TestWhatGoDoesNotEncode(t *testing.T) {
	t.Parallel()
	type odd struct {
		Lines  []line          `json:"lines,omitempty" jsonschema:"minItems=1"`
		ByUint map[uint8]int   `json:"by_uint,omitempty"`
		ByInt  map[colour]bool `json:"by_colour,omitempty"`
		Quoted *int8           `json:"quoted,string,omitempty"`
		Truth  bool            `json:"truth,string,omitempty"`
		Text   string          `json:"text,string,omitempty"`
		Half   float32         `json:"half,string,omitempty"`
		ID     string          `json:"id,omitempty" jsonschema:"format=uuid"`
		At     time.Time       `json:"at,omitzero"`
		Amount int64           `json:"amount,omitempty" jsonschema:"maximum=9007199254740993"`
	}
	s := of(t, odd{})
	_, err := s.Check(s.Example())
	require.NoError(t, err)
	for body, want := range map[string]string{
		`{"lines":null}`:                                         "lines: must be an array, is null",
		`{"by_uint":{"-1":1}}`:                                   `by_uint: the key "-1" must match ^[0-9]+$`,
		`{"by_uint":{"256":1}}`:                                  "256 does not fit its type (uint8)",
		`{"by_colour":{"red":true}}`:                             "",
		`{"quoted":1}`:                                           "quoted: must be a string, is a number",
		`{"quoted":"1.5"}`:                                       `quoted: must match ^-?[0-9]+$, is "1.5"`,
		`{"truth":"yes"}`:                                        `truth: must be one of "true", "false", is "yes"`,
		`{"id":"01938C3E-8A41-7000-8000-000000000001"}`:          `id: must be a UUID in lower case, such as 01938c3e-8a41-7000-8000-000000000001, is "01938C3E-8A41-7000-8000-000000000001"`,
		`{"id":"{01938c3e-8a41-7000-8000-000000000001}"}`:        "id: must be a u",
		`{"id":"urn:uuid:01938c3e-8a41-7000-8000-000000000001"}`: "id: must be a u",
		`{"at":"2026-01-02t15:04:05z"}`:                          `at: must be a date-time, is "2026-01-02t15:04:05z"`,
		`{"at":"2016-12-31T23:59:60Z"}`:                          `at: must be a date-time, is "2016-12-31T23:59:60Z"`,
		`{"amount":9007199254740994}`:                            "amount: must be <= 9007199254740993, is 9007199254740994",
	} {
		_, err := s.Check([]byte(body))
		require.Error(t, err, body)
		require.Contains(t, err.Error(), want, body)
	}
	for _, body := range []string{"\ufeff{}", "\ufeff \n{\"id\":\"01938c3e-8a41-7000-8000-000000000001\"}", `{"by_colour":{"colour-7":true}}`, `{"by_colour":null}`} {
		_, err := s.Check([]byte(body))
		require.NoError(t, err, body)
	}
	for body, want := range map[string]string{
		"\xff\xfe{\x00}\x00": "UTF-16", "\xfe\xff\x00{\x00}": "UTF-16", "{\x00}\x00": "UTF-16", "\n\x00{\x00}\x00": "UTF-16",
		"\xff\xfe\x00\x00{\x00\x00\x00": "UTF-32", "\x00\x00\xfe\xff\x00\x00\x00{": "UTF-32", "\n\x00\x00\x00{\x00\x00\x00": "UTF-32", "\x00\x00\x00{": "UTF-32",
	} {
		_, err := s.Check([]byte(body))
		require.EqualError(t, err, "the payload looks like "+want+"; save it as UTF-8", "%q", body)
	}
}
