package deadletter_test

import (
	"context"
	"fmt"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// What failed because something was not there goes back to its queue, once that is there.
func ExampleLetters_Replay() {
	replay := func(ctx context.Context, conn *leveret.Conn) error {
		letters := deadletter.New(conn.Rabbit(), conn.Names())
		result, err := letters.Replay(ctx, "inventory.reserve", deadletter.Replay{
			Select: func(l *deadletter.Letter) bool { return l.Code == leveret.Unavailable.String() },
		})
		fmt.Printf("%d of %d are in their queue again\n", result.Replayed, result.Seen)
		return err
	}
	_ = replay
}
