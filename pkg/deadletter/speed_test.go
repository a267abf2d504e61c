package deadletter_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
)

// Each benchmark works on b.N dead letters of about 1 KiB:
//
//	go test ./pkg/deadletter -run '^$' -bench . -benchtime 100000x -timeout 1h

func BenchmarkPeek(b *testing.B) {
	speed(b, func(s *bench, from deadletter.Source) {
		seen := 0
		total, err := s.store.Peek(s.ctx, from, b.N, func(*deadletter.Letter) bool { seen++; return true })
		require.NoError(b, err)
		require.Equal(b, []int{b.N, b.N}, []int{total, seen})
	})
}

// A tenth is replayed.
func BenchmarkReplaySome(b *testing.B) {
	speed(b, func(s *bench, from deadletter.Source) {
		n := 0
		result, err := s.store.Replay(s.ctx, from, deadletter.Replay{Select: func(*deadletter.Letter) bool { n++; return n%10 == 0 }})
		require.NoError(b, err)
		require.Equal(b, []int{b.N, b.N / 10}, []int{result.Seen, result.Replayed})
	})
}

func BenchmarkReplayAll(b *testing.B) {
	speed(b, func(s *bench, from deadletter.Source) {
		result, err := s.store.Replay(s.ctx, from, deadletter.Replay{})
		require.NoError(b, err)
		require.Equal(b, b.N, result.Replayed)
	})
}

func BenchmarkRemove(b *testing.B) {
	speed(b, func(s *bench, from deadletter.Source) {
		result, err := s.store.Remove(s.ctx, from, deadletter.Replay{})
		require.NoError(b, err)
		require.Equal(b, b.N, result.Replayed)
	})
}

func speed(b *testing.B, work func(*bench, deadletter.Source)) {
	b.Helper()
	s := setup(b)
	s.padding = `,"padding":"` + strings.Repeat("x", 1000) + `"`
	for left := b.N; left > 0; left -= 10_000 {
		s.fill(names.DeadLetterExchange("inventory"), queue, min(left, 10_000), nil)
	}
	s.waitFor(names.DeadLetterQueue(queue), b.N)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	work(s, s.store.DeadLetters(queue))
	b.StopTimer()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "letters/s")
	b.ReportMetric(float64(after.Sys-before.Sys)/(1<<20), "MiB-grown")
}
