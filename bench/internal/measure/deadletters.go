package measure

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// fail makes a dead letter of each message of a queue that was filled before: its handler refuses it for good.
func (r *run) fail(ctx context.Context) error {
	var failed atomic.Int64
	done := make(chan struct{})
	err := errors.Join(r.begin(), r.working(ctx, r.peer.Work, done, func(context.Context, *peers.Payload) error {
		if failed.Add(1) == int64(r.Messages) {
			close(done)
		}
		return leveret.Errorf(leveret.InvalidArgument, "refused for good")
	}))
	return errors.Join(err, r.end(int64(r.Messages)), r.settled(ctx))
}

// letters connects to the dead letters of the queue.
func (r *run) letters(ctx context.Context, do func(*deadletter.Store, deadletter.Source) error) error {
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{r.Setting.URL}, Name: "bench", Logger: r.Setting.Log})
	if err != nil {
		return err
	}
	store := deadletter.New(conn)
	return errors.Join(do(store, store.DeadLetters(r.Setting.Queue)), conn.Close(ctx))
}

// look looks at all dead letters, and keeps none.
func (r *run) look(ctx context.Context) error {
	return r.letters(ctx, func(store *deadletter.Store, from deadletter.Source) error {
		if err := r.begin(); err != nil {
			return err
		}
		seen := 0
		_, err := store.Peek(ctx, from, r.Messages, func(*deadletter.Letter) bool {
			seen++
			return true
		})
		if err == nil && seen != r.Messages {
			err = fmt.Errorf("saw %d of %d dead letters", seen, r.Messages)
		}
		return errors.Join(err, r.end(int64(seen)))
	})
}

// replay returns all dead letters to their queue.
func (r *run) replay(ctx context.Context) error {
	return r.letters(ctx, func(store *deadletter.Store, from deadletter.Source) error {
		if err := r.begin(); err != nil {
			return err
		}
		did, err := store.Replay(ctx, from, deadletter.Replay{})
		if err == nil && did.Replayed != r.Messages {
			err = fmt.Errorf("replayed %d of %d dead letters", did.Replayed, r.Messages)
		}
		return errors.Join(err, r.end(int64(did.Replayed)))
	})
}
