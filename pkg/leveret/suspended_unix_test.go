//go:build unix

package leveret_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestSuspended: a process that was suspended, as by a machine that sleeps, does not take its handlers for stuck,
// though each of them has had its time by the clock: they did not run either.
func TestSuspended(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, service := suspensions()
	client := b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{})
	p := b.launch("suspended", b.url)
	send := func(numbers ...int) {
		for _, i := range numbers {
			require.NoError(t, do.Send(b.ctx, client, thing{N: i}))
		}
	}
	send(0, 1, 2, 3)
	p.await("begun 0", "begun 1", "begun 2", "begun 3", "interrupted 0", "interrupted 1", "interrupted 2", "interrupted 3")
	send(4, 5, 6, 7)
	p.await("begun 4", "begun 5", "begun 6", "begun 7")
	// The first four have begun to return, and the others are in the middle of their work.
	p.signal(syscall.SIGSTOP)
	<-time.After(suspendedFor) // the process's clock goes on, and there is nothing else to wait for
	p.signal(syscall.SIGCONT)
	p.await("interrupted 4", "interrupted 5", "interrupted 6", "interrupted 7")
	send(8)
	p.await("begun 8") // it still takes messages; one that had found a stuck handler would take no more
	p.tell("go on")
	p.await(slices.Repeat([]string{"ack of attempt 1: <nil>, <nil>"}, 9)...)

	p.signal(syscall.SIGTERM)
	require.Zero(t, p.wait(), "nothing was stuck")
	for i := range 9 {
		require.NotContains(t, p.said, fmt.Sprint("begun ", i), "again")
	}
	foreign := b.peer()
	for _, queue := range []string{"a.do", "a.do.dlq", "retry.50ms", "quarantine.a"} {
		require.Zero(t, foreign.count(queue), queue)
	}
}
