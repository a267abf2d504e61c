package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// callTimeout is how long a call may take, for every peer that has such a setting.
const callTimeout = 10 * time.Second

// rawCaller publishes requests with direct reply-to over one channel and passes replies to the waiting callers.
type rawCaller struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	key  string

	mu      sync.Mutex
	waiting map[string]chan rawReply // by correlation id
}

type rawReply struct {
	body []byte
	err  error
}

func newRawCaller(s Setting) (_ *rawCaller, err error) {
	conn, err := amqp.Dial(s.URL)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	c := &rawCaller{conn: conn, ch: ch, key: s.Queue, waiting: make(map[string]chan rawReply)}
	returns := ch.NotifyReturn(make(chan amqp.Return, 64))
	replies, err := ch.Consume("amq.rabbitmq.reply-to", rawTag, true, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	go func() {
		for r := range returns {
			c.end(r.CorrelationId, rawReply{err: errReturned})
		}
	}()
	go func() {
		for d := range replies {
			reply := rawReply{body: d.Body}
			if d.ContentType == "application/problem+json" {
				reply = rawReply{err: fmt.Errorf("the server failed: %s", d.Body)}
			}
			c.end(d.CorrelationId, reply)
		}
		c.fail()
	}()
	return c, nil
}

func (c *rawCaller) end(id string, r rawReply) {
	c.mu.Lock()
	w, ok := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if ok {
		w <- r
	}
}

func (c *rawCaller) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, w := range c.waiting {
		delete(c.waiting, id)
		w <- rawReply{err: amqp.ErrClosed}
	}
}

func (c *rawCaller) Call(ctx context.Context, p *Payload) (*Payload, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	m := carried(c.key, body)
	m.CorrelationId = uuid.NewString()
	m.ReplyTo = "amq.rabbitmq.reply-to"
	m.DeliveryMode = amqp.Transient
	m.Headers["leveret-deadline"] = deadline.UTC().Format(time.RFC3339Nano)
	m.Expiration = strconv.FormatInt(time.Until(deadline).Milliseconds(), 10)

	answers := make(chan rawReply, 1)
	c.mu.Lock()
	c.waiting[m.CorrelationId] = answers
	c.mu.Unlock()
	if err := c.ch.Publish(requests, c.key, true, false, m); err != nil {
		c.end(m.CorrelationId, rawReply{})
		return nil, err
	}
	select {
	case r := <-answers:
		if r.err != nil {
			return nil, r.err
		}
		var reply Payload
		return &reply, json.Unmarshal(r.body, &reply)
	case <-ctx.Done():
		c.end(m.CorrelationId, rawReply{})
		return nil, ctx.Err()
	}
}

func (c *rawCaller) Close(context.Context) error { return c.conn.Close() }

// rawAcks acks deliveries of one channel, many with one frame: the prefix of delivery tags that are all finished, when
// it is a batch, or when the oldest of it has waited long enough. One that is slow holds up the acks of those behind
// it.
type rawAcks struct {
	ch    amqp.Acknowledger
	batch uint64

	mu            sync.Mutex
	finished      []bool // by tag, modulo the prefetch: no more than that can be unacked
	prefix, acked uint64
	overdue       *time.Timer
	err           error // the first
}

func newRawAcks(ch amqp.Acknowledger, prefetch int) *rawAcks {
	a := &rawAcks{ch: ch, batch: uint64(max(prefetch/4, 1)), finished: make([]bool, prefetch)}
	a.overdue = time.AfterFunc(time.Hour, func() { _ = a.flush() })
	a.overdue.Stop()
	return a
}

func (a *rawAcks) done(tag uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.prefix
	next := func() *bool { return &a.finished[(a.prefix+1)%uint64(len(a.finished))] }
	a.finished[tag%uint64(len(a.finished))] = true
	for ; *next(); a.prefix++ {
		*next() = false
	}
	switch {
	case a.prefix-a.acked >= a.batch:
		a.send()
	case before == a.acked && a.prefix > a.acked:
		a.overdue.Reset(batchDelay)
	}
}

// flush acks what waits, and returns the first error there was.
func (a *rawAcks) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.send()
	return a.err
}

func (a *rawAcks) send() {
	a.overdue.Stop()
	if a.acked == a.prefix {
		return
	}
	a.acked = a.prefix
	if err := a.ch.Ack(a.acked, true); a.err == nil {
		a.err = err
	}
}

// rawServe answers, then acks, on the channel that the request came on.
func rawServe(ctx context.Context, s Setting, ready func(), r Responder) error {
	c, err := newRawConsumer(s, declareRequests)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	defer c.until(ctx)()
	ready()
	acks := newRawAcks(c.ch, s.Prefetch)
	var handlers sync.WaitGroup
	errs := make([]error, s.Concurrency)
	for i := range s.Concurrency {
		handlers.Go(func() {
			for d := range c.deliveries {
				if err := rawAnswer(ctx, c.ch, &d, r); err != nil {
					errs[i] = err
					continue
				}
				acks.done(d.DeliveryTag)
			}
		})
	}
	handlers.Wait()
	return errors.Join(append(errs, acks.flush())...)
}

// rawAnswer returns nil when the request may be acked: it was answered, or nobody waits for the answer any more.
func rawAnswer(ctx context.Context, ch *amqp.Channel, d *amqp.Delivery, r Responder) error {
	deadline, err := time.Parse(time.RFC3339Nano, fmt.Sprint(d.Headers["leveret-deadline"]))
	if err != nil {
		deadline = time.Now().Add(callTimeout)
	}
	if time.Now().After(deadline) {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var p Payload
	var reply *Payload
	if err = json.Unmarshal(d.Body, &p); err == nil {
		reply, err = r(ctx, &p)
	}
	contentType, body := "application/json", []byte(nil)
	if err == nil {
		body, err = json.Marshal(reply)
	}
	if err != nil {
		contentType, body = "application/problem+json", fmt.Appendf(nil, `{"detail":%q}`, err.Error())
	}
	conversation, _ := d.Headers["leveret-conversation-id"].(string)
	return ch.Publish("", d.ReplyTo, false, false, amqp.Publishing{
		MessageId: uuid.Must(uuid.NewV7()).String(), CorrelationId: d.CorrelationId, Type: d.Type, ContentType: contentType,
		DeliveryMode: amqp.Transient, Timestamp: time.Now(), AppId: "bench",
		Headers: amqp.Table{"leveret-conversation-id": conversation, "leveret-instance": "bench/1"},
		Body:    body,
	})
}
