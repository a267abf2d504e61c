package leveret_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type thing struct {
	N int `json:"n"`
}
type answer struct {
	M int `json:"m"`
}

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	b, err := devbroker.Start(ctx, devbroker.Config{})
	require.NoError(t, err)
	defer b.Close(ctx)
	do := leveret.NewCommand[thing]("a.do", leveret.Retry(leveret.RetryPolicy{Attempts: 3, Delays: []time.Duration{100 * time.Millisecond}}))
	ask := leveret.NewRequest[thing, answer]("a.ask")
	happened := leveret.NewEvent[thing]("a.happened")
	svc := leveret.NewService("a", leveret.Handles(do), leveret.Answers(ask), leveret.Publishes(happened), leveret.SubscribesTo(happened), leveret.Sends(do), leveret.Calls(ask))
	require.NoError(t, leveret.NewCatalog(svc).Err())
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{b.URL()}, Logger: log})
	require.NoError(t, err)
	defer conn.Close(ctx)
	client, err := leveret.NewClient(conn, svc, leveret.ClientConfig{})
	require.NoError(t, err)
	w, err := leveret.NewWorker(conn, svc, leveret.WorkerConfig{})
	require.NoError(t, err)
	var done, tries, heard atomic.Int64
	do.Handle(w, func(ctx context.Context, v thing) error {
		if v.N == 7 {
			tries.Add(1)
			return errors.New("no good")
		}
		done.Add(1)
		return happened.Publish(ctx, client, v)
	})
	happened.Subscribe(w, func(ctx context.Context, v thing) error { heard.Add(1); return nil })
	ask.Answer(w, func(ctx context.Context, v thing) (answer, error) {
		if v.N == 3 {
			return answer{}, leveret.Errorf(leveret.NotFound, "no %d", v.N)
		}
		return answer{v.N * 2}, nil
	})
	_, err = ask.Call(ctx, client, thing{4})
	require.ErrorIs(t, err, leveret.ErrUnroutable)
	t.Log(err)
	rctx, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- w.Run(rctx) }()
	require.Eventually(t, func() bool { return w.Ready() == nil }, 10*time.Second, 10*time.Millisecond)
	r, err := ask.Call(ctx, client, thing{4})
	require.NoError(t, err)
	require.Equal(t, 8, r.M)
	_, err = ask.Call(ctx, client, thing{3})
	require.ErrorIs(t, err, leveret.NotFound)
	t.Log(err)
	start := time.Now()
	for range 1000 {
		_, err = ask.Call(ctx, client, thing{4})
		require.NoError(t, err)
	}
	t.Log("per call", time.Since(start)/1000)
	for i := range 20 {
		require.NoError(t, do.Send(ctx, client, thing{i}))
	}
	require.Eventually(t, func() bool { return tries.Load() == 3 && done.Load() == 19 && heard.Load() == 19 }, 10*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ran)
	require.NoError(t, client.Close(ctx))
}
