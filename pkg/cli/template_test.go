package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTemplate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "",
		"plain":                           "plain",
		"{{n}}":                           "7",
		"a {{ n }} b{{n}}":                "a 7 b7",
		"{{random 3 3}} {{random -1 -1}}": "3 -1",
		"{{random 9223372036854775807 9223372036854775807}}": "9223372036854775807",
		"{ {n} } {{}} {{1}} {{.n}} {{n":                      "{ {n} } {{}} {{1}} {{.n}} {{n",
		`{"a":{"b":{"c":1}}}`:                                `{"a":{"b":{"c":1}}}`,
	} {
		parsed, err := parseTemplate(text, false)
		require.NoError(t, err, text)
		require.Equal(t, want, string(parsed.render(7)), text)
		literal, err := parseTemplate(text, true)
		require.NoError(t, err)
		require.Equal(t, text, string(literal.render(7)))
	}
}

func TestTemplateMakesEveryCopyItsOwn(t *testing.T) {
	t.Parallel()
	parsed, err := parseTemplate(`{"id":"{{uuid}}","at":"{{now}}","n":{{n}},"r":{{random -5 5}}}`, false)
	require.NoError(t, err)
	seen := map[string]bool{}
	for n := range 200 {
		var v struct {
			ID, At string
			N, R   int
		}
		require.NoError(t, json.Unmarshal(parsed.render(n), &v))
		require.Equal(t, n, v.N)
		require.GreaterOrEqual(t, v.R, -5)
		require.LessOrEqual(t, v.R, 5)
		seen[v.ID] = true
	}
	require.Len(t, seen, 200)
}

func TestTemplateMistakes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{uid}}":                           "there is no placeholder {{uid}}",
		"{{n 1}}":                           "there is no placeholder {{n 1}}",
		"{{random}}":                        "there is no placeholder {{random}}",
		"{{random 1 2 3}}":                  "there is no placeholder {{random 1 2 3}}",
		"{{random 2 1}}":                    "the smaller first",
		"{{random 1 99999999999999999999}}": "needs two integers",
		"{{random -9223372036854775808 9223372036854775807}}": "needs two integers",
	} {
		_, err := parseTemplate(text, false)
		require.ErrorContains(t, err, want)
		require.Equal(t, ExitUsage, exitOf(err))
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"{{uuid}}", "{{random -9223372036854775808 0}}", "{{n}}{{", "{{{{n}}}}", "\xff{{now}}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		literal, err := parseTemplate(text, true)
		require.NoError(t, err)
		require.Equal(t, text, string(literal.render(1)))
		parsed, err := parseTemplate(text, false)
		if err != nil {
			require.Equal(t, ExitUsage, exitOf(err))
			return
		}
		rendered := string(parsed.render(1))
		if !strings.Contains(text, "{{") {
			require.Equal(t, text, rendered)
		}
	})
}
