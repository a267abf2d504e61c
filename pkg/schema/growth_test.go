package schema_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	_, err := of(t, tree{}).Check([]byte(`{"anything":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`))
	require.EqualError(t, err, "the payload is nested deeper than 100 levels")
	_, err = of(t, tree{}).Check([]byte(`{"counts":{"a":[` + strings.Repeat(`"x",`, 102) + `1]}}`))
	require.ErrorContains(t, err, "is a string; there are 2 more problems")
}
