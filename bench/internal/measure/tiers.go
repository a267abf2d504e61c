package measure

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// The two services whose messages wait for their retry at the same time.
const (
	ours, strangers = "ours", "strangers"
)

// late measures how late a message comes back from its retry tier behind Messages of another service that failed just
// before. "late" is the time beyond the delay, and "waiting" how many waited when it failed.
func (r *run) late(ctx context.Context) error {
	layout := topology.Shared
	if r.Isolated {
		layout = topology.Isolated
	}
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{
		URLs: []string{r.Setting.URL}, Name: "bench", Logger: r.Setting.Log, Layout: layout,
	})
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	working, stop := context.WithCancel(ctx)
	defer stop()
	running, working := errgroup.WithContext(working)
	own, theirs := r.tierCommand(ours), r.tierCommand(strangers)
	calls := make(chan time.Time, 2)
	var handled atomic.Int64
	failing := r.tierWorker(conn, ours, own, func(context.Context, peers.Payload) error {
		calls <- time.Now()
		if handled.Add(1) == 1 {
			return leveret.Errorf(leveret.Unavailable, "fails the first time")
		}
		return nil
	})
	taking := r.tierWorker(conn, strangers, theirs, func(context.Context, peers.Payload) error { return nil })
	ready := make(chan struct{}, 2)
	for _, work := range []func(context.Context, chan<- struct{}) error{failing, taking} {
		running.Go(func() error { return work(working, ready) })
	}
	for range 2 {
		select {
		case <-ready:
		case <-working.Done():
			return running.Wait()
		}
	}
	err = r.behind(working, conn, topology.Names{Layout: layout}.RetryTier(strangers, r.Setting.RetryDelay), own, theirs)
	if err == nil {
		err = r.comesBack(working, calls)
	}
	stop()
	return errors.Join(err, running.Wait())
}

func (r *run) tierCommand(service string) *leveret.Command[peers.Payload] {
	return leveret.NewCommand[peers.Payload](service+".work", leveret.Retry(leveret.RetryPolicy{Delays: []time.Duration{r.Setting.RetryDelay}}))
}

// tierWorker returns what runs a worker of one service.
func (r *run) tierWorker(conn *leveret.Conn, service string, command *leveret.Command[peers.Payload],
	handle func(context.Context, peers.Payload) error,
) func(context.Context, chan<- struct{}) error {
	return func(ctx context.Context, ready chan<- struct{}) error {
		h := leveret.NewHandlers(leveret.NewService(service, leveret.Handles(command)), leveret.HandlersConfig{})
		command.Handle(h, handle)
		w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{Prefetch: r.Setting.Prefetch, OnReady: func() { ready <- struct{}{} }})
		if err != nil {
			return err
		}
		return w.Run(ctx)
	}
}

// behind puts messages of the strangers into their tier, as if that many had just failed, and sends ours.
func (r *run) behind(ctx context.Context, conn *leveret.Conn, tier string, own, theirs *leveret.Command[peers.Payload]) error {
	client, err := leveret.NewClient(conn, leveret.NewService("sender", leveret.Sends(own)), leveret.ClientConfig{})
	if err != nil {
		return err
	}
	defer client.Close(context.WithoutCancel(ctx))
	err = r.onChannel(func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		payload := peers.Payloads(r.Body)
		var waiting []*amqp.DeferredConfirmation
		for n := range r.Messages {
			m, err := theirs.Message(ctx, *payload(n))
			if err != nil {
				return err
			}
			confirm, err := ch.PublishWithDeferredConfirm(tier, strangers+".work", false, false, amqp.Publishing{
				DeliveryMode: amqp.Persistent, Type: strangers + ".work", MessageId: m.ID, ContentType: "application/json", Body: m.Body,
			})
			if err != nil {
				return err
			}
			if waiting = append(waiting, confirm); len(waiting) == 1000 || n == r.Messages-1 {
				for _, c := range waiting {
					if !c.Wait() {
						return errors.New("the tier refused a message")
					}
				}
				waiting = waiting[:0]
			}
		}
		q, err := ch.QueueDeclarePassive(tier, true, false, false, false, nil)
		r.result.Extra = map[string]float64{"waiting": float64(q.Messages)}
		return err
	})
	if err != nil {
		return fmt.Errorf("the strangers' messages: %w", err)
	}
	return own.Send(ctx, client, *peers.Payloads(r.Body)(0))
}

// comesBack waits until our message has been handled twice.
func (r *run) comesBack(ctx context.Context, calls <-chan time.Time) error {
	var at [2]time.Time
	for i := range at {
		select {
		case at[i] = <-calls:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r.result.Messages, r.result.Seconds = 1, at[1].Sub(at[0]).Seconds()
	r.result.Extra["late"] = (at[1].Sub(at[0]) - r.Setting.RetryDelay).Seconds()
	return nil
}
