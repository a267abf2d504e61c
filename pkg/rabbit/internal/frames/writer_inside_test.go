package frames

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// frameOf is a frame as the driver writes it. The payload of a method begins with its class and number.
func frameOf(kind byte, channel uint16, method uint32, payload string) []byte {
	if kind == frameMethod {
		payload = string(binary.BigEndian.AppendUint32(nil, method)) + payload
	}
	out := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	out = binary.BigEndian.AppendUint32(out, uint32(len(payload)))
	return append(append(out, payload...), 0xce)
}

// What is for a channel that has ended is left out, until it is opened again, wherever the writes end.
func TestFramesOfEndedChannels(t *testing.T) {
	t.Parallel()
	const publish, ack = 60<<16 | 40, 60<<16 | 80
	written := []struct {
		frame []byte
		goes  bool
	}{
		{[]byte("AMQP\x00\x00\x09\x01"), true},
		{frameOf(frameMethod, 0, 10<<16|11, "start-ok"), true},
		{frameOf(frameMethod, 1, openChannel, "\x00"), true},
		{frameOf(frameMethod, 2, openChannel, "\x00"), true},
		{frameOf(frameMethod, 1, publish, "exchange and key"), true},
		{frameOf(2, 1, 0, "a header"), true},
		{frameOf(3, 1, 0, "a body that is longer than the head of a frame"), true},
		{frameOf(frameMethod, 1, closeChannelOk, ""), true},
		{frameOf(frameMethod, 1, ack, "late"), false},
		{frameOf(frameMethod, 1, publish, "late"), false},
		{frameOf(2, 1, 0, "late"), false},
		{frameOf(3, 1, 0, "late"), false},
		{frameOf(frameMethod, 1, closeChannel, "late"), false},
		{frameOf(8, 0, 0, ""), true},
		{frameOf(frameMethod, 2, ack, "of another channel"), true},
		{frameOf(frameMethod, 2, closeChannel, "bye"), true},
		{frameOf(frameMethod, 2, ack, "late"), false},
		{frameOf(frameMethod, 2, closeChannelOk, ""), true},
		{frameOf(frameMethod, 1, openChannel, "\x00"), true},
		{frameOf(frameMethod, 1, ack, "of a new channel"), true},
		{frameOf(3, 1, 0, ""), true},
		{frameOf(frameMethod, 0, 10<<16|50, "connection.close"), true},
	}
	var all, want []byte
	for _, w := range written {
		all = append(all, w.frame...)
		if w.goes {
			want = append(want, w.frame...)
		}
	}
	whole := newFilter()
	require.Equal(t, want, whole.appendTo(nil, all))
	single := newFilter()
	var got []byte
	for _, b := range all {
		got = single.appendTo(got, []byte{b})
	}
	require.Equal(t, want, got)
	for range 200 {
		pieces, rest := newFilter(), all
		got = got[:0]
		for len(rest) > 0 {
			n := 1 + rand.IntN(len(rest))
			got, rest = pieces.appendTo(got, rest[:n]), rest[n:]
		}
		require.True(t, bytes.Equal(want, got))
	}
}
