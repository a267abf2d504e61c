package schema_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/schema"
)

type figures struct {
	Whole  int64       `json:"whole,omitempty" jsonschema:"minimum=-5,maximum=5"`
	Float  float64     `json:"float,omitempty" jsonschema:"minimum=-5,maximum=5"`
	Fifth  json.Number `json:"fifth,omitempty" jsonschema:"multipleOf=5"`
	Digits json.Number `json:"digits,omitempty"`
	Any    any         `json:"any,omitempty"`
	Unique []any       `json:"unique,omitempty" jsonschema:"uniqueItems=true"`
	Choice json.Number `json:"choice,omitempty" jsonschema:"enum=1"`
}

// Without a limit most of these take minutes, and some all memory: 1e999999999 has a billion digits.
func TestNumbersTakeTimeByTheirTextAlone(t *testing.T) {
	t.Parallel()
	s := of(t, figures{})
	million := strings.Repeat("7", 1_000_000)
	for body, want := range map[string]string{
		`{"whole":1e999999}`:                                           "whole: must be <= 5, is 1e999999",
		`{"whole":-1e999999999}`:                                       "whole: must be >= -5, is -1e999999999",
		`{"whole":1e99999999999999999999999}`:                          "whole: must be <= 5, is 1e99999999999999999999999",
		`{"whole":1e-999999999}`:                                       "whole: must be a whole number, is 1e-999999999",
		`{"whole":0.0e999999999}`:                                      "whole: must be an integer, without a decimal point, is 0.0e999999999",
		`{"float":-1E+999999999}`:                                      "float: must be >= -5, is -1E+999999999",
		`{"whole":1` + million + `}`:                                   "whole: must be <= 5, is 1" + strings.Repeat("7", 59) + "…",
		`{"whole":0.` + million + `}`:                                  "whole: must be a whole number, is 0." + strings.Repeat("7", 58) + "…",
		`{"float":0.` + million + `}`:                                  "",
		`{"any":1e-999999999}`:                                         "",
		`{"any":1e999999999}`:                                          "",
		`{"fifth":1e999999999}`:                                        "",
		`{"fifth":1e-999999999}`:                                       "fifth: must be a multiple of 5, is 1e-999999999",
		`{"unique":[1e999999999,2e999999999,1]}`:                       "",
		`{"digits":1e999999999,"choice":1e999999999}`:                  "choice: must be one of 1, is 1e999999999",
		`{"unknown":[{"deep":1e999999999}],"digits":1` + million + `}`: "",
	} {
		_, err := s.Check([]byte(body))
		if want == "" {
			require.NoError(t, err, "%.60s", body)
			continue
		}
		require.Error(t, err, "%.60s", body)
		require.Equal(t, want, err.Error(), "%.60s", body)
	}
}

func FuzzShortNumber(f *testing.F) {
	for _, seed := range []string{"0", "-1.5e3", "1e401", "-0.00012e-400", "1" + strings.Repeat("0", 70) + "1", "0." + strings.Repeat("3", 70)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || strings.Trim(text, "-0123456789.eE+") != "" || len(text) > 200 {
			return
		}
		short := schema.ShortNumber(text)
		require.True(t, json.Valid([]byte(short)), "%s", short)
		if _, exponent, _ := strings.Cut(strings.ToLower(text), "e"); len(exponent) > 5 {
			return // its value has too many digits for a comparison
		}
		exact, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		near, ok := new(big.Rat).SetString(short)
		require.True(t, ok)
		require.Equal(t, exact.Sign(), near.Sign())
		for _, bound := range []string{"0", "1", "-1", "12345.678", "1e308", "-1e308", "1e-320", "-1e-320", "9223372036854775807"} {
			b, _ := new(big.Rat).SetString(bound)
			require.Equal(t, exact.Cmp(b), near.Cmp(b), "%s as %s, and %s", text, short, bound)
		}
		if near.IsInt() != exact.IsInt() {
			require.Greater(t, len(text), 60)
		}
	})
}
