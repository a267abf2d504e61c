package gateway_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/queues"
)

// beyond is what the services check and a schema cannot say.
var beyond = regexp.MustCompile(`is required|must be a lowercase UUID|control characters|email address|ISO 4217|must be the same in all lines|` +
	`appears twice|sum of the lines|must cost at most|available: must be at most|32 bytes in base64url`)

// texts are at the borders of what a text may be. A name stands for a length.
func texts(example string) []any {
	all := []any{
		example, strings.ToUpper(example), "{" + example + "}", "urn:uuid:" + example, strings.ReplaceAll(example, "-", ""),
		"", " ", "a", "ab", "a@b", "ada@example.com", "EUR", "eur", "EURO", "a\nb", "a\u202eb", "tok_", "tok_a", "tok_A", "a_b", "a-b",
		"00000000-0000-0000-0000-000000000000", "0001-01-01T00:00:00Z", "2026-01-02T15:04:05Z", "2026-01-02T15:04:05.123456789+05:45",
		"2026-01-02t15:04:05z", "2026-01-02 15:04:05Z", "2016-12-31T23:59:60Z", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z",
	}
	for _, n := range []int{4, 7, 8, 63, 64, 65, 128, 129, 254, 255, 256, 257, 4096, 4097} {
		all = append(all, strings.Repeat("a", n), strings.Repeat("ü", n), "tok_"+strings.Repeat("a", max(n-4, 0)),
			strings.Repeat("é", max(n-6, 1))+"@ex.co", " "+strings.Repeat("a", max(n-7, 1))+"@ex.co")
	}
	return all
}

// numbers are at the borders of what a number may be.
func numbers() []any {
	var all []any
	for _, text := range []string{
		"-1", "0", "1", "2", "20", "99", "100", "101", "9998", "9999", "10000", "10001", "99999999999", "100000000000", "100000000001",
		"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551616", "1e30", "1.5",
	} {
		all = append(all, json.Number(text))
	}
	return all
}

// borders returns values to put in the place of one.
func borders(v any) []any {
	others := []any{"x", json.Number("7"), true, []any{}, map[string]any{}}
	switch v := v.(type) {
	case string:
		return append(texts(v), others...)
	case json.Number:
		return append(numbers(), others...)
	case []any:
		for _, n := range []int{0, 1, 2, 99, 100, 101} {
			items := make([]any, n)
			for i := range items {
				items[i] = clone(v[0])
				if item, ok := items[i].(map[string]any); ok && item["sku"] != nil {
					item["sku"] = "sku-" + strconv.Itoa(i)
				}
			}
			others = append(others, items)
		}
		return append(others, nil)
	default:
		return others
	}
}

func clone(v any) any {
	switch v := v.(type) {
	case []any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = clone(v[i])
		}
		return items
	case map[string]any:
		fields := make(map[string]any, len(v))
		for name := range v {
			fields[name] = clone(v[name])
		}
		return fields
	default:
		return v
	}
}

// variants calls each with the root after every change of one value in it: to what is at a border, or for a field, none.
func variants(v any, root func() any, put func(any), each func(any)) {
	for _, other := range borders(v) {
		put(other)
		each(root())
	}
	put(v)
	switch v := v.(type) {
	case []any:
		for i := range v {
			variants(v[i], root, func(other any) { v[i] = other }, each)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			was := v[name]
			delete(v, name)
			each(root())
			variants(was, root, func(other any) { v[name] = other }, each)
		}
		v["a_new_field"] = "x"
		each(root())
		delete(v, "a_new_field")
	}
}

// published compiles the schema that a contract publishes, as a program that is not ours would.
func published(tb testing.TB, t reflect.Type) *validator.Schema {
	tb.Helper()
	s, err := schema.Of(t)
	require.NoError(tb, err)
	document, err := validator.UnmarshalJSON(bytes.NewReader(s.JSON()))
	require.NoError(tb, err)
	compiler := validator.NewCompiler()
	compiler.AssertFormat()
	require.NoError(tb, compiler.AddResource("payload.json", document))
	compiled, err := compiler.Compile("payload.json")
	require.NoError(tb, err)
	return compiled
}

// What the schema of a contract accepts, its service accepts, and the other way round: at the borders of every field, of
// every contract of the shop. The service may refuse what a schema cannot say, and time.Time a little of what RFC 3339 has.
func TestSchemasAreAsStrictAsServices(t *testing.T) {
	t.Parallel()
	public := leveret.NewCatalog(gateway.API)
	for _, c := range append(queues.Catalog.Contracts(), public.Contracts()...) {
		t.Run(c.Spec().Name, func(t *testing.T) {
			t.Parallel()
			spec := c.Spec()
			document := published(t, spec.Payload)
			ours, err := schema.Of(spec.Payload)
			require.NoError(t, err)
			example, err := validator.UnmarshalJSON(bytes.NewReader(ours.Example()))
			require.NoError(t, err)
			if spec.Example != nil {
				encoded, err := json.Marshal(spec.Example)
				require.NoError(t, err)
				example, err = validator.UnmarshalJSON(bytes.NewReader(encoded))
				require.NoError(t, err)
			}
			tried := 0
			variants(example, func() any { return example }, func(other any) { example = other }, func(v any) {
				body, err := json.Marshal(v)
				require.NoError(t, err)
				tried++
				bySchema, byService := document.Validate(v), decoded(spec.Payload, body)
				_, byCheck := ours.Check(body)
				require.Equal(t, byCheck == nil, bySchema == nil && byService == nil, "%.300s\nschema: %v\nservice: %v\ncheck: %v", body, bySchema, byService, byCheck)
				if bySchema == nil && byService != nil {
					require.True(t, beyond.MatchString(byService.Error()) || strings.Contains(byService.Error(), "parsing time"), "%.300s\nonly the service refuses: %v", body, byService)
				}
				// To Go a field that is left out is zero, and the other way round.
				if bySchema != nil && byService == nil && !strings.Contains(bySchema.Error(), "missing property") && !strings.Contains(string(body), `"user_id":""`) {
					require.Fail(t, "only the schema refuses", "%.300s\n%v", body, bySchema)
				}
			})
			require.NotZero(t, tried)
		})
	}
}

// decoded returns why the service refuses a payload.
func decoded(t reflect.Type, body []byte) error {
	payload := reflect.New(t)
	if err := json.Unmarshal(body, payload.Interface()); err != nil {
		return err
	}
	if v, ok := reflect.TypeAssert[interface{ Validate() error }](payload); ok {
		return v.Validate()
	}
	return nil
}
