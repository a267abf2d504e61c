package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func TestReadingKeepsTheFirst(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	r := &reading{limit: 3, pick: func(l *deadletter.Letter) bool { return l.Attempts%2 == 0 }}
	for i := range 1000 { // the last of them failed first
		require.True(t, r.take(&deadletter.Letter{Attempts: i, FailedAt: begun.Add(-time.Duration(i) * time.Second)}))
		require.Less(t, len(r.letters), 6)
	}
	r.cut()
	require.Equal(t, 1000, r.seen)
	require.Equal(t, 500, r.matched)
	require.Len(t, r.letters, 3)
	for i, l := range r.letters {
		require.Equal(t, 998-2*i, l.Attempts)
	}
}

func TestReadingEndsWhereItHoldsTooMuch(t *testing.T) {
	t.Parallel()
	letter := func() *deadletter.Letter {
		l := &deadletter.Letter{}
		l.Body = make([]byte, maxHeld/4) // never written: it takes no memory
		return l
	}
	few, many := &reading{limit: 1}, &reading{limit: 10}
	for range 8 {
		require.True(t, few.take(letter()), "what is over the limit is not kept")
	}
	for range 3 {
		require.True(t, many.take(letter()))
	}
	require.False(t, many.take(letter()))

	headers := &reading{limit: 100}
	table := rabbit.Table{"long": strings.Repeat("h", maxHeld/64)}
	for range 63 {
		require.True(t, headers.take(&deadletter.Letter{Delivery: rabbit.Delivery{Headers: table}}))
	}
	require.False(t, headers.take(&deadletter.Letter{Delivery: rabbit.Delivery{Headers: table}}), "headers take memory, too")
}
