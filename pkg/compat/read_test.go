package compat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compat"
)

func TestReadWhatWasEncoded(t *testing.T) {
	t.Parallel()
	lock := lockOf(t, request())
	text, err := lock.Encode()
	require.NoError(t, err)
	for _, file := range [][]byte{text, append([]byte("\xef\xbb\xbf"), text...), bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))} {
		read, err := compat.Read(file)
		require.NoError(t, err)
		found, err := compat.Check(read, lock)
		require.NoError(t, err)
		require.Empty(t, found)
		again, err := read.Encode()
		require.NoError(t, err)
		require.Equal(t, string(text), string(again))
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"nothing":          {``, "not a lock file"},
		"a conflict":       {"<<<<<<< HEAD\n{}", "it is not JSON"},
		"two values":       {`{"format":1,"contracts":[]} {}`, "not a lock file"},
		"something else":   {`{"openapi":"3.1.0"}`, "it has no format or no contracts"},
		"a list":           {`[]`, "not a lock file"},
		"a newer format":   {`{"format":2,"contracts":{}}`, "it has format 2, and this version reads up to 1"},
		"no name":          {`{"format":1,"contracts":[{}]}`, "a contract has no name"},
		"no kind":          {`{"format":1,"contracts":[{"name":"x.do"}]}`, `"x.do" is of the kind ""`},
		"no schema":        {`{"format":1,"contracts":[{"name":"x.do","kind":"command"}]}`, `"x.do" lacks a schema`},
		"twice":            {`{"format":1,"contracts":[{"name":"x.do","kind":"event","payload":{}},{"name":"x.do","kind":"event","payload":{}}]}`, "is there twice"},
		"a long number":    {`{"format":1,"contracts":[{"name":"x.do","kind":"event","payload":{"minimum":1e999999999}}]}`, "is too long"},
		"many digits":      {`{"format":1,"contracts":` + strings.Repeat("9", 10_000) + `}`, "is too long"},
		"nested deeply":    {strings.Repeat(`[`, 5_000_000), "nested deeper than 200 levels"},
		"nested and ended": {strings.Repeat(`[`, 300) + strings.Repeat(`]`, 300), "nested deeper than 200 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := compat.Read([]byte(c.text))
			require.ErrorContains(t, err, c.want)
			require.Less(t, len(err.Error()), 200)
		})
	}
	_, err := compat.Read(bytes.Repeat([]byte(" "), compat.MaxSize+1))
	require.ErrorContains(t, err, "larger than 32 MiB")
	_, err = compat.Read([]byte(`{"format":7,"contracts":[]}`))
	require.ErrorIs(t, err, compat.ErrNewer)
}

// Whatever schema a file holds, comparing it ends, and opens no other file.
func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	doubling := func(keyword string) string {
		parts := make([]string, 60)
		for i := range parts {
			next := fmt.Sprintf(`{"$ref":"#/$defs/d%d"}`, i+1)
			parts[i] = fmt.Sprintf(`"d%d":{"%s":[%s,%s]}`, i, keyword, next, next)
		}
		return fmt.Sprintf(`{"$ref":"#/$defs/d0","$defs":{%s,"d60":{"type":"string"}}}`, strings.Join(parts, ","))
	}
	nested := make([]string, 60)
	for i := range nested {
		next := fmt.Sprintf(`{"$ref":"#/$defs/n%d"}`, i+1)
		nested[i] = fmt.Sprintf(`"n%d":{"type":"object","properties":{"a":%s,"b":%s},"required":["a","b"]}`, i, next, next)
	}
	ladder := fmt.Sprintf(`{"$ref":"#/$defs/n0","$defs":{%s,"n60":{"type":"string"}}}`, strings.Join(nested, ","))
	other := json.RawMessage(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`)
	for name, c := range map[string]struct {
		text  string
		fails string
	}{
		"no schema":              {`7`, "x.do: the released schema of the payload"},
		"another file":           {`{"$ref":"file:///etc/hostname"}`, "is outside of the schema"},
		"another host":           {`{"$ref":"https://example.com/schema.json"}`, "is outside of the schema"},
		"a reference to nothing": {`{"$ref":"#/$defs/x"}`, "the released schema"},
		"alternatives":           {doubling("anyOf"), "parts"},
		"all of them":            {doubling("allOf"), "parts"},
		"a ladder":               {ladder, "parts"},
		"itself":                 {`{"$ref":"#"}`, ""},
		"each other":             {`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`, ""},
		"must hold itself":       {`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`, ""},
		"a wrong pattern":        {`{"type":"string","pattern":"("}`, "the released schema"},
		"a costly pattern":       {`{"type":"object","properties":{"a":{"type":"string","pattern":"^((a?){50}){20}$"}},"required":["a"]}`, ""},
		"very long":              {`{"type":"object","properties":{"a":{"type":"string","minLength":1000000000}},"required":["a"]}`, ""},
		"very many":              {`{"type":"object","properties":{"a":{"type":"array","minItems":1000000000,"items":{"type":"array","minItems":1000000000}}},"required":["a"]}`, ""},
		"nothing fits":           {`{"type":"object","properties":{"a":false},"required":["a"]}`, ""},
		"wrong types":            {`{"type":["string",null,7],"properties":[],"required":"a","enum":{}}`, "the released schema"},
		"names":                  {`{"type":"object","properties":{"a/b":{"type":"integer"},"c~d %":{"type":"integer"}},"required":["a/b","c~d %"]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := compat.Check(lockWith([]byte(c.text)), lockWith(other))
			if c.fails == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.fails)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	text, err := lockOf(f, request()).Encode()
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(`{"format":1,"contracts":[{"name":"x.do","kind":"event","payload":{"anyOf":[{"$ref":"#"},{"type":"null"}]}}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if lock, err := compat.Read(text); err == nil {
			_, _ = compat.Check(lock, &compat.Lock{})
			_, _ = compat.Check(lock, lock)
		}
	})
}
