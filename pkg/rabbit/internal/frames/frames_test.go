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
	why := func(s string) string { return short("leveret-headers-dropped") + "S" + long(s) }
	dropped, malformed := why("nested deeper than 32, or of more than 8192 entries"), why("malformed")
	large := why("larger than a frame of this connection, with what the broker has added")
	padding := func(n int) string { return short("a") + "S" + long(strings.Repeat("x", n)) }
	// A header frame with the properties below has as many bytes as fit into its limit.
	const limit = 4096
	fits := limit - len(frame(2, properties(padding(0))))
	counts := short("x-delivery-count") + "l12345678" + short("x-acquired-count") + "b\x01" + short("x-first-death-reason") + "S" + long("rejected") +
		short("x-last-death-reason") + "S" + long("expired")
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
		"unknown type":   {frame(2, properties(short("a")+"?")), frame(2, properties(malformed))},
		"cut off":        {frame(2, properties(short("a")+"S\x00\x00\x00\x09")), frame(2, properties(malformed))},
		"just fits":      {frame(2, properties(padding(fits))), frame(2, properties(padding(fits)))},
		"too large":      {frame(2, properties(padding(fits+1))), frame(2, properties(large))},
		"far too large":  {frame(2, properties(padding(3<<20))), frame(2, properties(large))},
		"large, no end":  {frame(2, properties(padding(fits)+"?")), frame(2, properties(malformed))},
		"large, counted": {frame(2, properties(padding(fits)+counts)), frame(2, properties(large+counts))},
		"deep, counted":  {frame(2, properties(nested('A', 33)+counts)), frame(2, properties(dropped+counts))},
		"forged counts": {
			frame(2, properties(padding(fits)+short("x-delivery-count")+nested('F', 40)[5:]+short("x-acquired-count")+"S"+long(strings.Repeat("x", 1<<10))+counts)),
			frame(2, properties(dropped+counts)),
		},
		"too short": {frame(2, "\x00"), frame(2, "\x00")},
		"not AMQP":  {"AMQP\x00\x00\x09\x01", "AMQP\x00\x00\x09\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, want := test.in+test.in, test.want+test.want
			if name == "not AMQP" {
				in, want = test.in, test.want
			}
			for _, source := range []io.Reader{strings.NewReader(in), oneByte{strings.NewReader(in)}} {
				r := NewReader(source)
				if strings.Contains(name, "large") || strings.Contains(name, "fits") || name == "forged counts" {
					r.Limit(limit)
				}
				got, err := io.ReadAll(r)
				require.NoError(t, err)
				require.Equal(t, want, string(got), "%T", source)
			}
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
	f.Add([]byte(frame(2, properties(short("a")+"S"+long(strings.Repeat("x", 5000))+short("x-delivery-count")+"l12345678"))))
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(in []byte, limit int) []byte {
			r := NewReader(bytes.NewReader(in))
			r.Limit(limit)
			got, _ := io.ReadAll(r)
			return got
		}
		for _, limit := range []int{0, 4096} {
			got := read(in, limit)
			require.Equal(t, got, read(got, limit), "what was mended needs no mending")
		}
	})
}
