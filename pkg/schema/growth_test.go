package schema_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

type tree struct {
	Name     string            `json:"name,omitempty"`
	Children []tree            `json:"children,omitempty"`
	Next     *tree             `json:"next,omitempty"`
	Counts   map[string][]int  `json:"counts,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Anything any               `json:"anything,omitempty"`
}

// said is how many characters a check of a payload has to say.
func said(t *testing.T, body string) int {
	t.Helper()
	unknown, err := of(t, tree{}).Check([]byte(body))
	n := 0
	for _, p := range unknown {
		n += len(p.String())
	}
	if err != nil {
		invalid, ok := errors.AsType[*schema.Invalid](err)
		require.True(t, ok)
		require.NotEmpty(t, invalid.Problems)
		n += len(err.Error())
	}
	return n
}

func TestWhatACheckSaysIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 1<<20)
	for name, body := range map[string]string{
		"many problems":                   `{"counts":{"a":[` + strings.Repeat(`"x",`, 50_000) + `1]}}`,
		"a long name above them":          `{"counts":{"` + long + `":[` + strings.Repeat(`"x",`, 10_000) + `1]}}`,
		"many unknown fields":             `{"children":[` + strings.Repeat(`{"u":1},`, 20_000) + `{}]}`,
		"a long unknown field":            `{"` + long + `":1}`,
		"a long value":                    `{"counts":{"a":"` + long + `"},"labels":{"b":` + strings.Repeat("1", 1<<20) + `}}`,
		"deep nesting":                    strings.Repeat(`{"children":[`, 4000) + `{"name":1}` + strings.Repeat(`]}`, 4000),
		"deep nesting of anything":        `{"anything":` + strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000) + `}`,
		"nesting that is deep enough":     strings.Repeat(`{"next":`, 99) + `{"name":1}` + strings.Repeat(`}`, 99),
		"nesting that is too deep for Go": strings.Repeat(`[`, 100_000),
	} {
		require.Less(t, said(t, body), 64<<10, name)
	}
	require.Zero(t, said(t, strings.Repeat(`{"next":`, 99)+`{"name":"a"}`+strings.Repeat(`}`, 99)))
	_, err := of(t, tree{}).Check([]byte(`{"counts":{"a":[` + strings.Repeat(`"x",`, 102) + `1]}}`))
	require.ErrorContains(t, err, "is a string; there are 2 more problems")
}

// What is too deep for the schema is checked as its receiver does.
func TestDeepPayloads(t *testing.T) {
	t.Parallel()
	c := leveret.NewCommand[tree]("test.deep")
	s := of(t, tree{})
	around := func(n int, inside string) string {
		return strings.Repeat(`{"next":`, n) + inside + strings.Repeat(`}`, n)
	}
	for name, body := range map[string]string{
		"anything":          `{"anything":` + strings.Repeat(`[`, 9_900) + strings.Repeat(`]`, 9_900) + `}`,
		"just too deep":     around(100, `{"name":"a"}`),
		"deep":              around(9_900, `{"name":"a","counts":{"a":[1]},"children":[{}],"labels":null}`),
		"deep and unknown":  around(500, `{"unknown":1}`),
		"null in the depth": around(500, `null`),
	} {
		unknown, err := s.Check([]byte(body))
		require.NoError(t, err, name)
		require.Empty(t, unknown, name)
		_, err = c.Decode([]byte(body))
		require.NoError(t, err, name)
	}
	for body, want := range map[string]string{
		around(99, `{"name":1}`):    strings.Repeat("next.", 99) + "name: must be a string, is a number",
		around(100, `{"name":1}`):   "next.next.name: number does not fit",
		around(5_000, `{"name":1}`): "does not fit its type (string)",
		around(10_001, `1`):         "the payload is not JSON: invalid character '{' exceeded max depth at line 1, column 80001",
	} {
		_, err := s.Check([]byte(body))
		require.Error(t, err, want)
		require.Contains(t, err.Error(), want)
		require.Less(t, len(err.Error()), 2_000)
		_, err = c.Decode([]byte(body))
		require.ErrorIs(t, err, leveret.InvalidArgument)
		require.Less(t, len(err.Error()), 2_000)
	}
}

// Texts that stand for what is too deep are not taken for equal.
func TestDeepItemsAreNotEqual(t *testing.T) {
	t.Parallel()
	type unique struct {
		Next *unique `json:"next,omitempty"`
		Set  [][]int `json:"set,omitempty" jsonschema:"uniqueItems=true"`
	}
	body := strings.Repeat(`{"next":`, 98) + `{"set":[[1],[2]]}` + strings.Repeat(`}`, 98)
	_, err := of(t, unique{}).Check([]byte(body))
	require.NoError(t, err)
}
