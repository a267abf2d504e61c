package frames

import (
	"bytes"
	"encoding/binary"
	"io"
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
		{frameOf(frameMethod, 2, closeChannelOk, "the closes have crossed"), true},
		{frameOf(frameMethod, 2, closeChannelOk, "again"), false},
		{frameOf(frameMethod, 1, closeChannelOk, "again"), false},
		{frameOf(frameMethod, 1, openChannel, "\x00"), true},
		{frameOf(frameMethod, 1, ack, "of a new channel"), true},
		{frameOf(3, 1, 0, ""), true},
		{frameOf(frameMethod, 1, closeChannelOk, ""), true},
		{frameOf(frameMethod, 0, 10<<16|50, "connection.close"), true},
	}
	var all, want []byte
	for _, w := range written {
		all = append(all, w.frame...)
		if w.goes {
			want = append(want, w.frame...)
		}
	}
	reopened := 0
	begin := func() filter {
		reopened = 0
		return newFilter(func(channel uint16) { reopened += int(channel) })
	}
	whole := begin()
	require.Equal(t, want, whole.appendTo(nil, all))
	require.Equal(t, 1, reopened, "channel 1, once")
	single := begin()
	var got []byte
	for _, b := range all {
		got = single.appendTo(got, []byte{b})
	}
	require.Equal(t, want, got)
	require.Equal(t, 1, reopened)
	for range 200 {
		pieces, rest := begin(), all
		got = got[:0]
		for len(rest) > 0 {
			n := 1 + rand.IntN(len(rest))
			got, rest = pieces.appendTo(got, rest[:n]), rest[n:]
		}
		require.True(t, bytes.Equal(want, got))
	}
}

// What arrives for a channel before the answer to its reopening belongs to the last channel of that number.
func TestFramesBeforeAReopeningIsAnswered(t *testing.T) {
	t.Parallel()
	const deliver = 60<<16 | 60
	var out bytes.Buffer
	arrives := bytes.Buffer{}
	r := NewReader(&arrives)
	w := NewWriter(&out, r)
	write := func(frames ...[]byte) {
		for _, f := range frames {
			_, err := w.Write(f)
			require.NoError(t, err)
		}
	}
	read := func(frames ...[]byte) []byte {
		arrives.Write(bytes.Join(frames, nil))
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		return got
	}
	open, opened := frameOf(frameMethod, 1, openChannel, "\x00"), frameOf(frameMethod, 1, openChannelOk, "\x00\x00\x00\x00")
	closing, ok := frameOf(frameMethod, 1, closeChannel, "why"), frameOf(frameMethod, 1, closeChannelOk, "")
	delivery := bytes.Join([][]byte{frameOf(frameMethod, 1, deliver, "tag"), frameOf(headerFrame, 1, 0, "header"), frameOf(3, 1, 0, "body")}, nil)
	other := frameOf(frameMethod, 2, closeChannelOk, "")

	write([]byte("AMQP\x00\x00\x09\x01"), open)
	require.Equal(t, opened, read(opened), "the first opening")
	write(closing) // crosses the broker's close, whose answer it gets as well
	require.Equal(t, closing, read(closing))
	write(ok, open)
	require.Equal(t, append(other, opened...), read(ok, delivery, other, closing, frameOf(3, 1, 0, ""), opened))
	require.Equal(t, append(delivery, closing...), read(delivery, closing), "of the new channel")

	write(ok, open)
	arrives.Write(delivery[:len(delivery)-1])
	_, err := io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
