package compare_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/measure"
)

type order struct {
	OrderID string `json:"order_id"`
}

// system is a service with a request, a command and an event, and its workers.
type system struct {
	authorize *leveret.Request[order, order]
	reserve   *leveret.Command[order]
	placed    *leveret.Event[order]
	service   *leveret.Service
	conn      *leveret.Conn
	log       *measure.EffectLog
}

func connect(t *testing.T, url string) *leveret.Conn {
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// start starts a worker, and returns when it consumes. stop drains it.
func (s *system) start(ctx context.Context) (stop func() error, err error) {
	h := leveret.NewHandlers(s.service, leveret.HandlersConfig{})
	do := func(ctx context.Context) error { return s.log.Record(leveret.MessageFrom(ctx).ID) }
	s.authorize.Answer(h, func(ctx context.Context, o order) (order, error) { return o, do(ctx) })
	s.reserve.Handle(h, func(ctx context.Context, _ order) error { return do(ctx) })
	s.placed.Subscribe(h, func(ctx context.Context, _ order) error { return do(ctx) })
	w, err := leveret.NewWorker(s.conn, h, leveret.WorkerConfig{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = func() error {
		cancel()
		return <-ended
	}
	for w.Ready() != nil {
		select {
		case err := <-ended:
			cancel()
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
	return stop, nil
}

func TestOverRabbitMQ(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	path := t.TempDir() + "/effects.log"
	s := &system{
		authorize: leveret.NewRequest[order, order]("payment.authorize", leveret.Idempotent()),
		reserve:   leveret.NewCommand[order]("payment.reserve"),
		placed:    leveret.NewEvent[order]("payment.placed"),
		conn:      connect(t, url),
	}
	var err error
	s.service = leveret.NewService("payment", leveret.Answers(s.authorize), leveret.Handles(s.reserve), leveret.SubscribesTo(s.placed),
		leveret.Calls(s.authorize), leveret.Sends(s.reserve), leveret.Publishes(s.placed))
	s.log, err = measure.OpenEffectLog(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.log.Close() })
	stops := make([]func() error, 2)
	for i := range stops {
		stops[i], err = s.start(t.Context())
		require.NoError(t, err)
	}
	defer func() {
		for _, stop := range stops {
			require.NoError(t, stop())
		}
	}()
	client, err := leveret.NewClient(connect(t, url), s.service, leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })

	call := compare.Way{Name: "amqp", Label: "AMQP request/reply", Do: func(ctx context.Context, id string) error {
		_, err := s.authorize.Call(ctx, client, order{id}, leveret.MessageID(id))
		return err
	}}
	command := compare.Way{Name: "command", Label: "Command", Async: true, Do: func(ctx context.Context, id string) error {
		return s.reserve.Send(ctx, client, order{id}, leveret.MessageID(id))
	}}
	event := compare.Way{Name: "event", Label: "Event", Async: true, Do: func(ctx context.Context, id string) error {
		return s.placed.Publish(ctx, client, order{id}, leveret.MessageID(id))
	}}
	c, err := compare.New(compare.Config{
		Ways: []compare.Way{call, withRetries(call), command, event}, Source: measure.NewEffectReader(path),
		Timeout: 30 * time.Second, Quiet: 100 * time.Millisecond, NewID: uuid.NewString,
	})
	require.NoError(t, err)
	rows, err := c.Speed(t.Context(), compare.SpeedConfig{Rounds: 1, Rate: 50, Warm: 20 * time.Millisecond, For: 100 * time.Millisecond, InFlight: []int{8}})
	require.NoError(t, err)
	require.Len(t, rows, 6)
	for _, row := range rows {
		require.Equal(t, measure.Balance{Asked: row.Ledger.Asked, OK: row.Ledger.Asked, Effects: row.Ledger.Asked}, row.Ledger, row.Label)
		require.Positive(t, row.Throughput.Median)
		require.Positive(t, row.P99.Median)
		require.Positive(t, row.EffectP50.Median)
	}
	faults, err := c.Faults(t.Context(), compare.FaultsConfig{
		Before: 200 * time.Millisecond, After: 200 * time.Millisecond, Rate: 50, Faults: []compare.Fault{{
			Name: "restarts", Label: "Restarted one after the other", Inflict: func(context.Context) error {
				for i, stop := range stops {
					again, err := s.start(t.Context())
					if err := errors.Join(err, stop()); err != nil {
						return err
					}
					stops[i] = again
				}
				return nil
			},
		}},
	})
	require.NoError(t, err)
	for _, row := range faults {
		l := row.Ledger
		require.Equal(t, measure.Balance{Asked: l.Asked, OK: l.Asked, Effects: l.Effects, Twice: l.Twice}, l, row.Label)
		require.Equal(t, l.Asked+l.Twice, l.Effects, row.Label) // at least once
	}
	require.Zero(t, c.Stray())
}
