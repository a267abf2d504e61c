package rabbit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// piped returns a wire and its other end. Nothing is buffered between them, and time in a bubble is the test's.
func piped(t *testing.T, blocked *atomic.Bool) (*wire, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	w := newWire(near, blocked)
	t.Cleanup(func() { _ = far.Close(); _ = w.Close() })
	return w, far
}

// overTCP returns a wire and its other end, with what the system keeps between them.
func overTCP(t *testing.T) (*wire, *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	far, err := listener.Accept()
	require.NoError(t, err)
	w := newWire(near, new(atomic.Bool))
	t.Cleanup(func() { _ = far.Close(); _ = w.Close() })
	return w, far.(*net.TCPConn)
}

// send writes n bytes as publishers do, once there is room.
func (w *wire) send(ctx context.Context, n int) error {
	if err := w.reserve(ctx, n); err != nil {
		return err
	}
	defer w.release(n)
	_, err := w.Write(make([]byte, n))
	return err
}

func TestWireNeverBlocksInWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := piped(t, new(atomic.Bool)) // nobody reads
		began := time.Now()
		for range 30 {
			n, err := w.Write(make([]byte, 100<<10))
			require.NoError(t, err)
			require.Equal(t, 100<<10, n)
		}
		require.Zero(t, time.Since(began))
	})
}

func TestWireKeepsEveryByteInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // so that Close does not run out of time
		w, far := piped(t, new(atomic.Bool))
		random := rand.New(rand.NewPCG(1, 1))
		var want bytes.Buffer
		got := make(chan []byte, 1)
		go func() {
			all, err := io.ReadAll(far)
			if err != nil {
				all = nil
			}
			got <- all
		}()
		for range 300 {
			p := make([]byte, random.IntN(5000))
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			want.Write(p)
			n, err := w.Write(p)
			require.NoError(t, err)
			require.Equal(t, len(p), n)
		}
		require.NoError(t, w.Close(), "Close writes what is pending")
		require.True(t, bytes.Equal(want.Bytes(), <-got))
		_, err := w.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestWireHoldsPublishersBackWhileItIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, far := piped(t, new(atomic.Bool))
		_, err := w.Write([]byte("x")) // is on its way, to nobody
		require.NoError(t, err)
		synctest.Wait()

		require.True(t, w.tryReserve(wireBuffer))
		require.False(t, w.tryReserve(1), "what is only reserved counts too")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = w.reserve(ctx, 1)
		require.ErrorIs(t, err, ErrBlocked)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		w.release(wireBuffer)
		require.True(t, w.tryReserve(1), "what will never be written makes room")
		w.release(1)

		require.NoError(t, w.send(t.Context(), wireBuffer))
		waiting := make(chan error, 1)
		go func() { waiting <- w.reserve(t.Context(), 1) }()
		synctest.Wait()
		select {
		case <-waiting:
			require.Fail(t, "there is no room")
		default:
		}
		_, err = io.ReadFull(far, make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, <-waiting)
	})
}

// Room goes to those who wait longest, and wakes nobody else.
func TestWireServesThoseWhoWaitInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := piped(t, new(atomic.Bool))
		const half = wireBuffer/2 - messageOverhead
		require.True(t, w.tryReserve(half))
		require.True(t, w.tryReserve(half))
		var served []int
		gone, leave := context.WithCancel(t.Context())
		for i := range 6 {
			ctx := t.Context()
			if i == 2 {
				ctx = gone
			}
			go func() {
				if w.reserve(ctx, wireBuffer) == nil {
					served = append(served, i)
				}
			}()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		w.release(half)
		require.False(t, w.tryReserve(1), "there is room, and others wait for more")
		w.release(half)
		synctest.Wait()
		require.Equal(t, []int{0}, served)
		for _, want := range [][]int{{0, 1}, {0, 1, 3}} {
			w.release(wireBuffer)
			synctest.Wait()
			require.Equal(t, want, served)
			require.False(t, w.tryReserve(1), "there is no room")
		}
		require.NoError(t, w.Close())
		for range 2 {
			w.release(wireBuffer)
			synctest.Wait()
		}
		require.Equal(t, []int{0, 1, 3, 4, 5}, served)
	})
}

func TestWireMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const message, senders = 200 << 10, 50
	w, far := piped(t, new(atomic.Bool))
	var most int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			_ = w.send(t.Context(), message)
			w.mu.Lock()
			size := len(w.pending)
			w.mu.Unlock()
			mu.Lock()
			most = max(most, size)
			mu.Unlock()
		})
	}
	n, err := io.CopyN(io.Discard, far, message*senders)
	require.NoError(t, err)
	require.EqualValues(t, message*senders, n)
	all.Wait()
	require.LessOrEqual(t, most, wireBuffer)
	require.True(t, w.tryReserve(wireBuffer), "all room is free again")
}

// However small messages are, there is an end to them, and each is given its room back.
func TestWireCountsMessagesWithoutABody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, far := piped(t, new(atomic.Bool))
		written := 0
		for ; w.tryReserve(0); written++ {
			_, err := w.Write(make([]byte, 200)) // nobody reads
			require.NoError(t, err)
			w.release(0)
			synctest.Wait()
		}
		require.Equal(t, wireBuffer/messageOverhead+1, written, "the first is on its way")
		_, err := io.CopyN(io.Discard, far, int64(200*written))
		require.NoError(t, err)
		synctest.Wait()
		require.True(t, w.tryReserve(wireBuffer))
	})
}

func TestWireGivesUpWhenNothingMovesUnlessTheBrokerWantsItSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var blocked atomic.Bool
		blocked.Store(true)
		w, _ := piped(t, &blocked)
		_, err := w.Write([]byte("x"))
		require.NoError(t, err)
		time.Sleep(10 * writeTimeout)
		_, err = w.Write([]byte("x"))
		require.NoError(t, err)
		require.False(t, w.failed.Load())

		blocked.Store(false)
		time.Sleep(2 * writeTimeout)
		synctest.Wait()
		require.True(t, w.failed.Load())
		_, err = w.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the driver's reader ends, and knows why")
		_, err = w.Write([]byte("x"))
		require.NoError(t, err, "it is lost, as what was written before")
		require.NoError(t, w.reserve(t.Context(), 1), "nobody waits")
	})
}

func TestWireIsPatientWhileSomethingMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, far := piped(t, new(atomic.Bool))
		_, err := w.Write(make([]byte, 100))
		require.NoError(t, err)
		for range 100 {
			time.Sleep(writeTimeout * 9 / 10)
			_, err := io.ReadFull(far, make([]byte, 1))
			require.NoError(t, err)
		}
		require.False(t, w.failed.Load())
	})
}

// A broker under an alarm reads nothing: closing must not wait for it.
func TestWireClosesInTimeThoughNobodyReads(t *testing.T) {
	t.Parallel()
	for _, blocked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var b atomic.Bool
			b.Store(blocked)
			w, _ := piped(t, &b)
			_, err := w.Write(make([]byte, 2*wireBuffer))
			require.NoError(t, err)
			synctest.Wait()
			waiting := make(chan error, 1)
			require.NoError(t, w.send(t.Context(), wireBuffer))
			go func() { waiting <- w.reserve(t.Context(), 1) }()
			synctest.Wait()
			began := time.Now()
			require.NoError(t, w.Close())
			require.Equal(t, closeTimeout, time.Since(began))
			require.NoError(t, <-waiting)
			require.NoError(t, w.Close(), "twice is allowed")
		})
	}
}

func TestWireTellsOfALostConnection(t *testing.T) {
	t.Parallel()
	w, far := overTCP(t)
	require.NoError(t, w.send(t.Context(), 8<<20)) // more than the sockets take
	require.NoError(t, w.send(t.Context(), 8<<20))
	waiting := make(chan error, 1)
	go func() { waiting <- w.reserve(t.Context(), 1) }()
	require.NoError(t, far.SetLinger(0))
	require.NoError(t, far.Close())
	require.NoError(t, <-waiting)
	require.Eventually(t, w.failed.Load, 10*time.Second, time.Millisecond)
	_, err := w.Read(make([]byte, 1))
	require.Error(t, err, "the driver's reader ends, too")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// A broker that refuses a client's certificate, say, sends the reason and closes, while the client still writes.
func TestWireLeavesTheBrokersLastWordsToBeRead(t *testing.T) {
	t.Parallel()
	for range 20 {
		w, far := overTCP(t)
		_, err := far.Write([]byte("last words"))
		require.NoError(t, err)
		require.NoError(t, far.Close())
		var alive time.Time
		require.Eventually(t, func() bool {
			now := time.Now()
			if w.failed.Load() {
				return true
			}
			alive = now
			_, _ = w.Write([]byte("x"))
			return false
		}, time.Minute, time.Millisecond)
		got := make([]byte, 10)
		_, err = io.ReadFull(w, got)
		if err != nil && time.Since(alive) >= closeTimeout {
			continue // they may be read for that long: this test was too slow
		}
		require.NoError(t, err)
		require.Equal(t, "last words", string(got))
		_, err = w.Read(got)
		require.Error(t, err)
		return
	}
	require.Fail(t, "they could never be read in time")
}

// unwritable is a connection that takes nothing more, and is read like any other.
type unwritable struct{ net.Conn }

var errUnwritable = errors.New("nothing more is taken")

func (unwritable) Write([]byte) (int, error) { return 0, errUnwritable }

func TestWireEndsTheReaderThoughTheBrokerStaysSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		w := newWire(unwritable{near}, new(atomic.Bool))
		defer w.Close()
		began := time.Now()
		_, err := w.Write([]byte("x"))
		require.NoError(t, err)
		_, err = w.Read(make([]byte, 1))
		require.ErrorIs(t, err, errUnwritable)
		require.Equal(t, closeTimeout, time.Since(began))
	})
}

// Deadlines for writing come from above as if Write could block; they must not hurt what is pending.
func TestWireKeepsWriteDeadlinesToItself(t *testing.T) {
	t.Parallel()
	w, far := piped(t, new(atomic.Bool))
	require.NoError(t, w.SetWriteDeadline(time.Unix(1, 0)))
	require.NoError(t, w.SetDeadline(time.Unix(1, 0)))
	_, err := w.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(far, make([]byte, 1))
	require.NoError(t, err)
	_, err = w.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
