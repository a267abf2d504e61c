package deadletter_test

import (
	"context"
	"fmt"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Once the payment provider is back, replay what failed because it was away.
func ExampleStore_Replay() {
	replay := func(ctx context.Context, conn *leveret.Conn) error {
		store := deadletter.New(conn)
		result, err := store.Replay(ctx, store.DeadLetters("inventory.reserve"), deadletter.Replay{
			Select: func(l *deadletter.Letter) bool { return l.Code == leveret.Unavailable.String() },
		})
		fmt.Printf("replayed %d of %d dead letters\n", result.Replayed, result.Seen)
		return err
	}
	_ = replay
}
