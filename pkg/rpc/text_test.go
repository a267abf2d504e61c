package rpc_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rpc"
)

func TestEncodeText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"order-7/2":  "order-7/2",
		"":           `""`,
		"a b":        `"a b"`,
		`a"b\`:       `"a\"b\\"`,
		"100%":       `"100%"`,
		"a,b;c":      `"a,b;c"`,
		"café":       `%"caf%c3%a9"`,
		"a\n%\"":     `%"a%0a%25%22"`,
		"\u007f":     `%"%7f"`,
		"01938c3e-8": "01938c3e-8",
	} {
		require.Equal(t, want, rpc.EncodeText(text))
		got, err := rpc.DecodeText(want)
		require.NoError(t, err)
		require.Equal(t, text, got)
	}
}

func TestDecodeText(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "", " a b ": "a b", "a%20b": "a%20b", "%": "%", "%a": "%a", `a"`: `a"`, "café": "café", `%"%C3%A9"`: "é", ` "a" `: "a",
	} {
		got, err := rpc.DecodeText(value)
		require.NoError(t, err, value)
		require.Equal(t, want, got)
	}
	for _, value := range []string{
		`"`, `%"`, `"a`, `%"a`, `"a\"`, `"a\b"`, `"a"b"`, `"é"`, "\"\n\"", `%"%"`, `%"%4"`, `%"%zz"`, `%"% f"`, `%"%+f"`, `%"é"`, `%"%ff"`, "\xff", `%"a"b"`,
	} {
		got, err := rpc.DecodeText(value)
		require.Error(t, err, "%q is %q", value, got)
	}
}

func FuzzDecodeText(f *testing.F) {
	for _, seed := range []string{"", "a b", `"a\"b"`, `%"caf%c3%a9"`, `%"%zz"`, "\xff", `"`, `%"%0"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if text, err := rpc.DecodeText(value); err == nil {
			require.True(t, utf8.ValidString(text))
		}
		if !utf8.ValidString(value) {
			_, err := rpc.DecodeText(rpc.EncodeText(value))
			require.Error(t, err)
			return
		}
		encoded := rpc.EncodeText(value)
		require.False(t, strings.ContainsFunc(encoded, func(c rune) bool { return c < ' ' || c >= 0x7f }), "%q is no header", encoded)
		got, err := rpc.DecodeText(encoded)
		require.NoError(t, err)
		require.Equal(t, value, got)
	})
}
