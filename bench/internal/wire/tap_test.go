package wire

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

const patience = 2 * time.Minute

func TestMain(m *testing.M) { testmain.Leaks(m) }

func TestTap(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	node := leverettest.Node(t)
	tap, err := Listen(node.URL())
	require.NoError(t, err)
	defer tap.Close()

	conn, err := amqp.Dial(tap.URL())
	require.NoError(t, err)
	var open []*amqp.Channel
	for range 3 {
		ch, err := conn.Channel()
		require.NoError(t, err)
		open = append(open, ch)
	}
	require.NoError(t, open[0].Close())
	before := tap.Count()
	require.Equal(t, [2]int64{1, 2}, [2]int64{before.Connections, before.Channels})

	ch := open[1]
	queue, err := ch.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	declared := tap.Count().Since(before)
	require.Equal(t, [2]int64{1, 1}, [2]int64{declared.Written.Frames, declared.Read.Frames})

	before = tap.Count()
	body := bytes.Repeat([]byte("x"), 3*conn.Config.FrameSize/2) // two frames
	require.NoError(t, ch.PublishWithContext(ctx, "", queue.Name, false, false, amqp.Publishing{Body: body}))
	got, ok := amqp.Delivery{}, false
	for !ok { // until it has arrived
		got, ok, err = ch.Get(queue.Name, true)
		require.NoError(t, err)
	}
	require.Equal(t, body, got.Body)
	passed := tap.Count().Since(before)
	require.GreaterOrEqual(t, passed.Written.Frames, int64(2+2+1)) // publish, head, body, and at least one get
	require.Greater(t, passed.Written.Bytes, int64(len(body)))
	require.Equal(t, passed.Written.Frames-2-2-1, passed.Read.Frames-2-2, "each further get was answered in one frame")

	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return tap.Count().Connections == 0 }, patience, 10*time.Millisecond)
	require.Zero(t, tap.Count().Channels)
}

// Frames are found wherever what passes is cut.
func TestFramesThatAreCut(t *testing.T) {
	t.Parallel()
	stream := []byte("AMQP\x00\x00\x09\x01")
	frame := func(kind byte, payload string) {
		stream = append(stream, kind, 0, 1, 0, 0, 0, byte(len(payload)))
		stream = append(append(stream, payload...), 0xCE)
	}
	frame(frameMethod, "\x00\x14\x00\x0a\x00") // channel.open
	frame(frameHeartbeat, "")
	frame(frameMethod, "\x00\x3c\x00\x28rest") // basic.publish
	frame(2, "")
	frame(3, "a body with \xCE in it, \x01\x00\x01\x00\x00\x00\x00\xCE")
	frame(frameMethod, "\x00\x14\x00\x29") // channel.close-ok
	for size := 1; size <= len(stream); size++ {
		var f flow
		var mine, total atomic.Int64
		p := newParser(&f, &mine, &total)
		p.skip = 8
		opened := false
		for at := 0; at < len(stream); at += size {
			p.see(stream[at:min(at+size, len(stream))])
			opened = opened || total.Load() == 1
		}
		require.Equal(t, Flow{Frames: 5, Bytes: int64(len(stream) - 8 - 8)}, f.now(), "cut into pieces of %d", size)
		require.Zero(t, total.Load())
		require.True(t, opened || size > len(stream)/2)
	}
}

func TestOnlyPlainAddresses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"amqps://localhost:5671", "amqp://localhost", "%"} {
		_, err := Listen(url)
		require.Error(t, err, url)
	}
}
