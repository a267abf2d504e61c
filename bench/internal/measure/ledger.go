package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/bench/internal/peers"
)

// patience is how long a peer may take to report the outcome of a message before it counts as hanging.
const patience = 5 * time.Second

// A ledger is a file with one id per line, written immediately, so that it survives any end of the process.
type ledger struct{ file *os.File }

func openLedger(path string) (ledger, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return ledger{f}, err
}

// write appends a line per id, with a single write so that lines do not mix.
func (l ledger) write(ids ...string) error {
	_, err := l.file.WriteString(strings.Join(ids, "\n") + "\n")
	return err
}

// An outlet sends payloads and waits until the peer has reported their outcome. A nil error means that all are safe.
type outlet struct {
	send  func(ctx context.Context, batch []*peers.Payload) error
	close func(ctx context.Context) error
	// goroutines may send at once, batch payloads each.
	goroutines, batch int
}

// outlet opens an outlet: a Sender takes one payload from each of several goroutines, a Pipeline several from one.
func (r *run) outlet(ctx context.Context, goroutines, batch int) (*outlet, error) {
	if !r.Pipelined {
		if r.peer.Sender == nil {
			return nil, errNotOffered
		}
		r.Setting.Senders = goroutines
		s, err := r.peer.Sender(ctx, r.Setting)
		if err != nil {
			return nil, err
		}
		return &outlet{func(ctx context.Context, one []*peers.Payload) error { return s.Send(ctx, one[0]) }, s.Close, goroutines, 1}, nil
	}
	if r.peer.Pipeline == nil {
		return nil, errNotOffered
	}
	p, err := r.peer.Pipeline(ctx, r.Setting)
	if err != nil {
		return nil, err
	}
	send := func(ctx context.Context, batch []*peers.Payload) (err error) {
		for _, payload := range batch {
			if err = p.Send(ctx, payload); err != nil {
				break
			}
		}
		return errors.Join(err, p.Flush(ctx))
	}
	return &outlet{send, p.Close, 1, batch}, nil
}

// batches returns a function that makes the next batch of payloads, numbered from 1, and returns their total number.
func (o *outlet) batches(body int) func() (batch []*peers.Payload, sum int) {
	payload := peers.Payloads(body)
	var next atomic.Int64
	return func() ([]*peers.Payload, int) {
		sum := int(next.Add(int64(o.batch)))
		batch := make([]*peers.Payload, o.batch)
		for i := range batch {
			batch[i] = payload(sum - o.batch + i + 1)
		}
		return batch, sum
	}
}

// unroutable sends a message, deletes the queue, and sends more. Any message that is now reported as sent is lost.
func (r *run) unroutable(ctx context.Context) (err error) {
	out, err := r.outlet(ctx, 4, 1) // for a batch, an error would not say how many failed
	if err != nil {
		return err
	}
	next := out.batches(r.Body)
	if err := out.send(ctx, []*peers.Payload{first(r.Body)}); err != nil {
		return fmt.Errorf("the first message: %w", err)
	}
	if err := r.deleteQueue(); err != nil {
		return err
	}
	var tried, told, hung atomic.Int64
	giveUp := time.Now().Add(20 * time.Second) // a peer that retries forever takes one context per message
	var reason atomic.Pointer[string]
	var all sync.WaitGroup
	for range out.goroutines {
		all.Go(func() {
			for {
				batch, sum := next()
				if sum > r.Messages || hung.Load() > 0 || time.Now().After(giveUp) {
					return
				}
				tried.Add(int64(len(batch)))
				ended, err := within(ctx, func(ctx context.Context) error { return out.send(ctx, batch) })
				switch {
				case !ended:
					hung.Add(1)
				case err != nil:
					told.Add(int64(len(batch)))
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
	_, _ = within(ctx, out.close)
	return nil
}

// within runs f and reports whether it returned in time, or at least within a second after its context had ended.
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

// depth returns the number of messages in the queue, or 0 if the queue does not exist.
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

// record sends messages until the child is stopped, and writes the ids of those reported as sent.
func (r *run) record(ctx context.Context) error {
	ledger, err := openLedger(r.Ledger)
	if err != nil {
		return err
	}
	out, err := r.outlet(ctx, r.N, r.Setting.Window)
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
	next := out.batches(r.Body)
	var sent, failed atomic.Int64
	errs := make([]error, out.goroutines)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				batch, _ := next()
				sent.Add(int64(len(batch)))
				if err := out.send(ctx, batch); err != nil {
					if ctx.Err() == nil {
						failed.Add(int64(len(batch)))
					}
					pause(ctx, 20*time.Millisecond)
					continue
				}
				ids := make([]string, len(batch))
				for n, p := range batch {
					ids[n] = p.ID
				}
				errs[i] = ledger.write(ids...)
			}
		})
	}
	all.Wait()
	r.result.Messages = sent.Load()
	r.result.Extra = map[string]float64{"failed": float64(failed.Load())}
	_, _ = within(context.WithoutCancel(ctx), out.close)
	return errors.Join(errs...)
}

// handle handles messages until the child is stopped, and writes the ids of those handled completely.
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
