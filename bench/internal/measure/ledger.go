package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/bench/internal/peers"
)

// patience is how long a peer may take to tell what became of a message before it counts as hanging.
const patience = 5 * time.Second

// A ledger is a file that holds an id in each line, written at once: it outlives the process, however that ends.
type ledger struct{ file *os.File }

func openLedger(path string) (ledger, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return ledger{f}, err
}

// write appends a line. One write is one line: they do not mix.
func (l ledger) write(id string) error {
	_, err := l.file.WriteString(id + "\n")
	return err
}

// unroutable sends a message, takes the queue away, and sends more: whatever is reported as sent now is lost.
func (r *run) unroutable(ctx context.Context) (err error) {
	if r.peer.Sender == nil {
		return errNotOffered
	}
	r.Setting.Senders = 4
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	payload := peers.Payloads(r.Body)
	if err := s.Send(ctx, payload(0)); err != nil {
		return fmt.Errorf("the first message: %w", err)
	}
	if err := r.deleteQueue(); err != nil {
		return err
	}
	var next, tried, told, hung atomic.Int64
	giveUp := time.Now().Add(20 * time.Second) // a peer that tries for ever tells after a context each
	var reason atomic.Pointer[string]
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				n := int(next.Add(1))
				if n > r.Messages || hung.Load() > 0 || time.Now().After(giveUp) {
					return
				}
				tried.Add(1)
				ended, err := within(ctx, func(ctx context.Context) error { return s.Send(ctx, payload(n)) })
				switch {
				case !ended:
					hung.Add(1)
				case err != nil:
					told.Add(1)
					text := err.Error()
					reason.Store(&text)
				}
			}
		})
	}
	all.Wait()
	kept, err := r.depth()
	if err != nil {
		return err
	}
	r.result.Messages = tried.Load()
	r.result.Extra = map[string]float64{"told": float64(told.Load()), "hung": float64(hung.Load()), "kept": float64(kept)}
	if text := reason.Load(); text != nil {
		r.result.Note = *text
	}
	_, _ = within(ctx, s.Close)
	return nil
}

// within runs f, and tells whether it returned in time, or a second after its context had ended.
func within(ctx context.Context, f func(context.Context) error) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return true, err
	case <-time.After(patience + time.Second):
		return false, nil
	}
}

func (r *run) onChannel(do func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(r.Setting.URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return do(ch)
}

func (r *run) deleteQueue() error {
	return r.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(r.Setting.Queue, false, false, false)
		return err
	})
}

// depth is how many messages the queue holds; none where it does not exist.
func (r *run) depth() (n int, err error) {
	err = r.onChannel(func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(r.Setting.Queue, true, false, false, false, nil)
		if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotFound {
			return nil
		}
		n = q.Messages
		return err
	})
	return n, err
}

// record sends until told to stop, and writes the ids of all that were reported as sent.
func (r *run) record(ctx context.Context) error {
	if r.peer.Sender == nil {
		return errNotOffered
	}
	ledger, err := openLedger(r.Ledger)
	if err != nil {
		return err
	}
	r.Setting.Senders = r.N
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	r.ready()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-r.stop
		cancel()
	}()
	payload := peers.Payloads(r.Body)
	var next, failed atomic.Int64
	errs := make([]error, r.N)
	var all sync.WaitGroup
	for i := range r.N {
		all.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				p := payload(int(next.Add(1)))
				if err := s.Send(ctx, p); err != nil {
					if ctx.Err() == nil {
						failed.Add(1)
					}
					pause(ctx, 20*time.Millisecond)
					continue
				}
				errs[i] = ledger.write(p.ID)
			}
		})
	}
	all.Wait()
	r.result.Messages = next.Load()
	r.result.Extra = map[string]float64{"failed": float64(failed.Load())}
	_, _ = within(context.WithoutCancel(ctx), s.Close)
	return errors.Join(errs...)
}

// handle handles until told to stop, and writes the ids of all that were handled to their end.
func (r *run) handle(ctx context.Context) error {
	if r.peer.Work == nil {
		return errNotOffered
	}
	ledger, err := openLedger(r.Ledger)
	if err != nil {
		return err
	}
	return r.working(ctx, r.peer.Work, nil, func(_ context.Context, p *peers.Payload) error {
		time.Sleep(r.Task.Work)
		return ledger.write(p.ID)
	})
}
