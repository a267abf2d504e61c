package peers

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rawBatched is the driver, receiving in one goroutine that acks many deliveries with one frame. It is as quick as
// consuming gets, and handles one message at a time.
func rawBatched() Peer {
	return Peer{
		Name: RawBatched, Module: driver,
		About: "Consuming only: one goroutine, one multiple ack for a quarter of the prefetch, or for what there is after 5 ms. " +
			"No concurrency: a slow handler holds up all.",
		FilledBy: Raw,
		Work:     rawWorkBatched,
	}
}

// rawConsumer is a channel that consumes.
type rawConsumer struct {
	conn       *amqp.Connection
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
}

const rawTag = "bench"

func newRawConsumer(s Setting, declare ...func(*amqp.Channel, Setting) error) (_ *rawConsumer, err error) {
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
	for _, d := range declare {
		if err := d(ch, s); err != nil {
			return nil, err
		}
	}
	if err := ch.Qos(s.Prefetch, 0, false); err != nil {
		return nil, err
	}
	deliveries, err := ch.Consume(s.Queue, rawTag, false, false, false, false, nil)
	return &rawConsumer{conn, ch, deliveries}, err
}

// until cancels the consumer when ctx ends: the deliveries that are here already are still handled.
func (c *rawConsumer) until(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.ch.Cancel(rawTag, false) })
}

// rawWork handles deliveries in as many goroutines as asked for, and acks each. With retry, one that failed is
// published to the tier, confirmed, before it is acked.
func rawWork(ctx context.Context, s Setting, ready func(), h Handler, retry bool) error {
	declare := []func(*amqp.Channel, Setting) error{declareWork}
	if retry {
		declare = append(declare, declareRetry)
	}
	c, err := newRawConsumer(s, declare...)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	var copies *rawPublisher
	if retry {
		conn, err := amqp.Dial(s.URL) // publish on a separate connection, as Leveret does
		if err != nil {
			return err
		}
		defer conn.Close()
		if copies, err = rawPublisherOn(conn, s); err != nil {
			return err
		}
	}
	defer c.until(ctx)()
	ready()
	var handlers sync.WaitGroup
	errs := make([]error, s.Concurrency)
	for i := range s.Concurrency {
		handlers.Go(func() {
			for d := range c.deliveries {
				if err := rawHandle(ctx, s, &d, h, copies); err != nil {
					errs[i] = err
				}
			}
		})
	}
	handlers.Wait()
	return errors.Join(errs...)
}

func rawHandle(ctx context.Context, s Setting, d *amqp.Delivery, h Handler, copies *rawPublisher) error {
	var p Payload
	if err := json.Unmarshal(d.Body, &p); err != nil {
		return errors.Join(err, d.Reject(false))
	}
	err := h(ctx, &p)
	if err == nil {
		return d.Ack(false)
	}
	if copies == nil {
		return d.Nack(false, true)
	}
	if err := copies.again(ctx, s, d, err); err != nil {
		s.Log.Warn("the copy was not published", "error", err)
		return d.Nack(false, true)
	}
	return d.Ack(false)
}

// again publishes a copy of a failed message to the tier, and waits for the confirm.
func (p *rawPublisher) again(ctx context.Context, s Setting, d *amqp.Delivery, reason error) error {
	attempt, _ := d.Headers["leveret-attempt"].(int64)
	headers := make(amqp.Table, len(d.Headers)+4)
	for name, value := range d.Headers {
		if name != "x-death" && name != "x-delivery-count" {
			headers[name] = value
		}
	}
	headers["leveret-attempt"] = max(attempt, 1) + 1
	headers["leveret-first-failed-at"] = time.Now().UTC().Format(time.RFC3339Nano)
	headers["leveret-error-code"] = "unknown"
	headers["leveret-error-message"] = reason.Error()
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	confirm, err := p.ch.PublishWithDeferredConfirm(retryTier, s.Queue, true, false, amqp.Publishing{
		MessageId: d.MessageId, CorrelationId: d.CorrelationId, Type: d.Type, ContentType: d.ContentType,
		Timestamp: d.Timestamp, AppId: d.AppId, DeliveryMode: amqp.Persistent, Headers: headers, Body: d.Body,
	})
	if err != nil {
		return err
	}
	select {
	case <-confirm.Done():
		return p.outcome(rawFlight{d.MessageId, confirm})
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batchDelay is how long a delivery that was handled may wait for its ack.
const batchDelay = 5 * time.Millisecond

// rawWorkBatched handles deliveries one after another and acks them in batches.
func rawWorkBatched(ctx context.Context, s Setting, ready func(), h Handler) error {
	c, err := newRawConsumer(s, declareWork)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	defer c.until(ctx)()
	ready()
	return handleInBatches(ctx, c.deliveries, max(s.Prefetch/4, 1), c.ch, h)
}

// handleInBatches handles deliveries until there are no more. It acks a batch with one frame, and what is less than one
// when its oldest has waited long enough.
func handleInBatches(ctx context.Context, deliveries <-chan amqp.Delivery, batch int, ch amqp.Acknowledger, h Handler) error {
	waiting, last := 0, uint64(0)
	overdue := time.NewTimer(batchDelay)
	overdue.Stop()
	flush := func() error {
		overdue.Stop()
		if waiting == 0 {
			return nil
		}
		waiting = 0
		return ch.Ack(last, true)
	}
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return flush()
			}
			if err := handleBody(ctx, d.Body, h); err != nil {
				if err := errors.Join(flush(), ch.Nack(d.DeliveryTag, false, true)); err != nil {
					return err
				}
				continue
			}
			last = d.DeliveryTag
			if waiting++; waiting == 1 {
				overdue.Reset(batchDelay)
			}
			if waiting < batch {
				continue
			}
		case <-overdue.C:
		}
		if err := flush(); err != nil {
			return err
		}
	}
}
