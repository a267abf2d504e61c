package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// raw is the driver alone, used as well as it can be, and with what Leveret carries and guarantees: the same properties
// and headers, persistent and mandatory messages, returns matched with their publishes, confirms matched and bounded in
// flight. What it does not have is everything around: it does not connect again.
func raw() Peer {
	return Peer{
		Name: Raw, Module: driver,
		About: "Persistent, mandatory, one channel in confirm mode, deferred confirmations, returns matched before a confirm is believed; " +
			"each delivery acked after its handler, requests after their reply was written, up to a quarter of the prefetch with one frame. It does not connect again: that is left to the program.",
		Sender: func(_ context.Context, s Setting) (Sender, error) { return newRawPublisher(s) },
		Pipeline: func(_ context.Context, s Setting) (Pipeline, error) {
			p, err := newRawPublisher(s)
			return rawPipeline{p}, err
		},
		Work: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return rawWork(ctx, s, ready, h, false)
		},
		Retry: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return rawWork(ctx, s, ready, h, true)
		},
		Caller: func(_ context.Context, s Setting) (Caller, error) { return newRawCaller(s) },
		Serve:  rawServe,
	}
}

const driver = "github.com/rabbitmq/amqp091-go"

var (
	errReturned = errors.New("returned: no queue is bound")
	errNacked   = errors.New("nacked, or the channel was closed before the confirm")
)

// rawPublisher publishes over one channel. As a Sender it is safe for concurrent use, as a Pipeline it is not.
type rawPublisher struct {
	conn    *amqp.Connection
	ch      *amqp.Channel
	key     string
	slots   chan struct{}
	returns chan amqp.Return

	mu       sync.Mutex
	returned map[string]bool // by message id

	// of the pipeline: a ring of what waits for its confirm, oldest first
	ring        []rawFlight
	first, used int
	failed      error
}

type rawFlight struct {
	id      string
	confirm *amqp.DeferredConfirmation
}

func newRawPublisher(s Setting) (*rawPublisher, error) {
	conn, err := amqp.Dial(s.URL)
	if err != nil {
		return nil, err
	}
	p, err := rawPublisherOn(conn, s)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := p.prepare(s); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

func rawPublisherOn(conn *amqp.Connection, s Setting) (*rawPublisher, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return &rawPublisher{
		conn: conn, ch: ch, key: s.Queue,
		slots:    make(chan struct{}, s.Window),
		returns:  ch.NotifyReturn(make(chan amqp.Return, s.Window)),
		returned: make(map[string]bool),
		ring:     make([]rawFlight, s.Window),
	}, nil
}

// prepare declares the publisher's targets on a separate channel.
func (p *rawPublisher) prepare(s Setting) error {
	ch, err := p.conn.Channel()
	if err != nil {
		return err
	}
	return errors.Join(declareWork(ch, s), ch.Close())
}

// carried holds the same properties and headers as Leveret's.
func carried(name string, body []byte) amqp.Publishing {
	now := time.Now()
	id := uuid.Must(uuid.NewV7()).String()
	return amqp.Publishing{
		MessageId:     id,
		CorrelationId: id,
		Type:          name,
		ContentType:   "application/json",
		Timestamp:     now,
		AppId:         "bench",
		DeliveryMode:  amqp.Persistent,
		Headers: amqp.Table{
			"leveret-conversation-id": id,
			"leveret-sent-at":         now.UTC().Format(time.RFC3339Nano),
		},
		Body: body,
	}
}

func (p *rawPublisher) publish(payload *Payload) (rawFlight, error) {
	body, err := json.Marshal(payload)
	if err != nil {
		return rawFlight{}, err
	}
	m := carried(p.key, body)
	confirm, err := p.ch.PublishWithDeferredConfirm(commands, p.key, true, false, m)
	return rawFlight{m.MessageId, confirm}, err
}

// outcome is what became of a message whose confirm has come. The driver hands a return on before its confirm.
func (p *rawPublisher) outcome(f rawFlight) error {
	if !f.confirm.Acked() {
		return errNacked
	}
	if len(p.returns) == 0 {
		p.mu.Lock()
		none := len(p.returned) == 0
		p.mu.Unlock()
		if none {
			return nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		select {
		case r, ok := <-p.returns:
			if ok {
				p.returned[r.MessageId] = true
				continue
			}
		default:
		}
		break
	}
	if p.returned[f.id] {
		delete(p.returned, f.id)
		return errReturned
	}
	return nil
}

func (p *rawPublisher) Send(ctx context.Context, payload *Payload) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	f, err := p.publish(payload)
	if err != nil {
		return err
	}
	select {
	case <-f.confirm.Done():
		return p.outcome(f)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *rawPublisher) Close(context.Context) error {
	err := p.conn.Close()
	if errors.Is(err, amqp.ErrClosed) {
		return nil
	}
	return err
}

// rawPipeline is the publisher as a Pipeline.
type rawPipeline struct{ *rawPublisher }

func (p rawPipeline) Send(_ context.Context, payload *Payload) error {
	if p.used == len(p.ring) {
		p.finishOldest()
	}
	f, err := p.publish(payload)
	if err != nil {
		return err
	}
	p.ring[(p.first+p.used)%len(p.ring)] = f
	p.used++
	return nil
}

func (p rawPipeline) finishOldest() {
	f := p.ring[p.first]
	<-f.confirm.Done()
	if err := p.outcome(f); err != nil && p.failed == nil {
		p.failed = fmt.Errorf("%s: %w", f.id, err)
	}
	p.first = (p.first + 1) % len(p.ring)
	p.used--
}

func (p rawPipeline) Flush(context.Context) error {
	for p.used > 0 {
		p.finishOldest()
	}
	err := p.failed
	p.failed = nil
	return err
}
