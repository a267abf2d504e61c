package rabbit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// A call that is left behind may not have been written yet: until it is answered, or a moment has passed, no message
// is.
func TestACallLeftBehindKeepsItsTurn(t *testing.T) {
	t.Parallel()
	for name, answered := range map[string]bool{"answered": true, "unanswered": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ch := &Channel{Channel: &amqp.Channel{}, session: &session{}, turns: semaphore.NewWeighted(allTurns)}
				ctx, cancel := context.WithCancel(t.Context())
				answer := make(chan struct{})
				left := make(chan error)
				go func() { left <- doOn(ctx, ch, func() error { <-answer; return nil }) }()
				synctest.Wait()
				cancel()
				require.ErrorIs(t, <-left, context.Canceled)
				require.False(t, ch.turns.TryAcquire(1))
				if answered {
					close(answer)
				} else {
					time.Sleep(leftBehind)
				}
				synctest.Wait()
				require.True(t, ch.turns.TryAcquire(1))
				if !answered {
					close(answer)
				}
				time.Sleep(leftBehind)
			})
		})
	}
}
