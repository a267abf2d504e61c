package frames

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// frame is one frame as the broker sends it.
func frame(kind byte, payload string) string {
	b := append([]byte{kind, 0, 1}, binary.BigEndian.AppendUint32(nil, uint32(len(payload)))...)
	return string(append(append(b, payload...), 0xCE))
}

func long(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }

func short(s string) string { return string([]byte{byte(len(s))}) + s }

// properties is the payload of a header frame with a content type, the given headers, and a delivery mode.
func properties(headers string) string {
	return "\x00\x3c\x00\x00" + strings.Repeat("\x00", 8) + "\xb0\x00" + short("text/plain") + long(headers) + "\x02"
}

func nested(kind byte, depth int) string {
	value := "S" + long("end")
	for range depth {
		inner := value
		if kind == 'F' {
			inner = short("k") + value
		}
		value = string(kind) + long(inner)
	}
	return short("deep") + value
}

func TestReader(t *testing.T) {
	t.Parallel()
	const dropped = "\x17leveret-headers-droppedS\x00\x00\x00\x33nested deeper than 32, or of more than 8192 entries"
	entries := func(n int) string { return short("many") + "A" + long(strings.Repeat("V", n)) }
	all := short("t") + "t\x01" + short("b") + "b\x01" + short("B") + "B\x01" + short("s") + "s\x00\x01" + short("u") + "u\x00\x01" +
		short("I") + "I\x00\x00\x00\x01" + short("i") + "i\x00\x00\x00\x01" + short("l") + "l" + strings.Repeat("\x00", 8) +
		short("f") + "f\x00\x00\x00\x01" + short("d") + "d" + strings.Repeat("\x00", 8) + short("D") + "D\x01\x00\x00\x00\x01" +
		short("S") + "S" + long("L") + short("x") + "x" + long("LL") + short("T") + "T" + strings.Repeat("\x00", 8) + short("V") + "V" +
		short("F") + "F" + long(short("L")+"S"+long("L")) + short("A") + "A" + long("I\x00\x00\x00\x01V")
	for name, test := range map[string]struct{ in, want string }{
		"method":         {frame(1, "\x00\x3c\x00\x3c whatever L"), frame(1, "\x00\x3c\x00\x3c whatever L")},
		"body":           {frame(3, strings.Repeat("L", 100_000)), frame(3, strings.Repeat("L", 100_000))},
		"heartbeat":      {frame(8, ""), frame(8, "")},
		"no headers":     {frame(2, "\x00\x3c\x00\x00"+strings.Repeat("\x00", 8)+"\x10\x00\x02"), frame(2, "\x00\x3c\x00\x00"+strings.Repeat("\x00", 8)+"\x10\x00\x02")},
		"every type":     {frame(2, properties(all)), frame(2, properties(all))},
		"L":              {frame(2, properties(short("L")+"LLLLLLLLL")), frame(2, properties(short("L")+"lLLLLLLLL"))},
		"L in a table":   {frame(2, properties(short("a")+"F"+long(short("b")+"L12345678"))), frame(2, properties(short("a")+"F"+long(short("b")+"l12345678")))},
		"L in an array":  {frame(2, properties(short("a")+"A"+long("VL12345678V"))), frame(2, properties(short("a")+"A"+long("Vl12345678V")))},
		"32 deep":        {frame(2, properties(nested('F', 32))), frame(2, properties(nested('F', 32)))},
		"33 deep":        {frame(2, properties(nested('F', 33))), frame(2, properties(dropped))},
		"33 deep arrays": {frame(2, properties(nested('A', 33))), frame(2, properties(dropped))},
		"8192 entries":   {frame(2, properties(entries(8192))), frame(2, properties(entries(8192)))},
		"8193 entries":   {frame(2, properties(entries(8193))), frame(2, properties(dropped))},
		"unknown type":   {frame(2, properties(short("a")+"?")), frame(2, properties(short("a")+"?"))},
		"cut off":        {frame(2, properties(short("a")+"S\x00\x00\x00\x09")), frame(2, properties(short("a")+"S\x00\x00\x00\x09"))},
		"too short":      {frame(2, "\x00"), frame(2, "\x00")},
		"not AMQP":       {"AMQP\x00\x00\x09\x01", "AMQP\x00\x00\x09\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, want := test.in+test.in, test.want+test.want
			if name == "not AMQP" {
				in, want = test.in, test.want
			}
			got, err := io.ReadAll(NewReader(strings.NewReader(in)))
			require.NoError(t, err)
			require.Equal(t, []byte(want), got)
			got, err = io.ReadAll(NewReader(oneByte{strings.NewReader(in)}))
			require.NoError(t, err)
			require.Equal(t, []byte(want), got, "a byte at a time")
		})
	}
}

// TestReaderEnds: what ends in the middle of a frame is an error, not an end.
func TestReaderEnds(t *testing.T) {
	t.Parallel()
	whole := frame(2, properties(short("a")+"V"))
	for n := 1; n < len(whole); n++ {
		_, err := io.ReadAll(NewReader(strings.NewReader(whole[:n])))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "after %d bytes", n)
	}
	_, err := io.ReadAll(NewReader(strings.NewReader("")))
	require.NoError(t, err)
}

type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 1)]) }

// FuzzReader: whatever comes, nothing panics, and the stream keeps its frames.
func FuzzReader(f *testing.F) {
	f.Add([]byte(frame(2, properties(short("L")+"L12345678"))))
	f.Add([]byte(frame(2, properties(nested('F', 40))) + frame(8, "")))
	f.Add([]byte(frame(2, properties(nested('A', 40)))[:50]))
	f.Add([]byte("\x02\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, _ := io.ReadAll(NewReader(bytes.NewReader(in)))
		again, _ := io.ReadAll(NewReader(bytes.NewReader(got)))
		require.Equal(t, got, again, "what was mended needs no mending")
	})
}
