package docs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// The left side of migrate-from-amqp091.md: programs as people write them with the driver. migrate_test.go shows what
// becomes of them.

func rawConnect(ctx context.Context, url string, use func(*amqp.Connection)) {
	for ctx.Err() == nil {
		conn, err := amqp.Dial(url)
		if err != nil {
			slog.Error("cannot connect", "error", err)
			<-time.After(5 * time.Second)
			continue
		}
		closed := conn.NotifyClose(make(chan *amqp.Error, 1))
		use(conn) // channels, declarations and consumers, all over again
		slog.Error("connection lost", "error", <-closed)
	}
}

func rawDeclare(ch *amqp.Channel) error {
	if err := ch.ExchangeDeclare("billing", "direct", true, false, false, false, nil); err != nil {
		return err
	}
	q, err := ch.QueueDeclare("billing.charge", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	if err != nil {
		return err
	}
	return ch.QueueBind(q.Name, "charge", "billing", false, nil)
}

func rawPublish(ctx context.Context, ch *amqp.Channel, c Charge) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "billing", "charge", false, false,
		amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: body})
	if err != nil {
		return err
	}
	if !confirm.Wait() {
		return errors.New("the broker refused the message")
	}
	return nil
}

func rawPublishMandatory(ctx context.Context, ch *amqp.Channel, body []byte) error {
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 1))
	err := ch.PublishWithContext(ctx, "billing", "charge", true, false, amqp.Publishing{Body: body})
	if err != nil {
		return err
	}
	select {
	case r := <-returns:
		return fmt.Errorf("unroutable: %s", r.ReplyText)
	case c := <-confirms:
		if !c.Ack {
			return errors.New("the broker refused the message")
		}
		return nil
	}
}

func rawConsume(ch *amqp.Channel, handle func(Charge) error) error {
	deliveries, err := ch.Consume("billing.charge", "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for d := range deliveries {
		var c Charge
		if err := json.Unmarshal(d.Body, &c); err != nil {
			_ = d.Nack(false, false)
			continue
		}
		if err := handle(c); err != nil {
			_ = d.Nack(false, true) // try again
			continue
		}
		_ = d.Ack(false)
	}
	return nil
}

func rawDeadLetters(ch *amqp.Channel) error {
	if err := ch.ExchangeDeclare("dlx", "fanout", true, false, false, false, nil); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare("dead-letters", true, false, false, false, nil); err != nil {
		return err
	}
	if err := ch.QueueBind("dead-letters", "", "dlx", false, nil); err != nil {
		return err
	}
	_, err := ch.QueueDeclare("billing.charge", true, false, false, false, amqp.Table{"x-dead-letter-exchange": "dlx"})
	return err
}

func rawCall(ctx context.Context, ch *amqp.Channel, q BalanceQuery) (BalanceReply, error) {
	var reply BalanceReply
	queue, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return reply, err
	}
	replies, err := ch.Consume(queue.Name, "", true, true, false, false, nil)
	if err != nil {
		return reply, err
	}
	body, err := json.Marshal(q)
	if err != nil {
		return reply, err
	}
	id := uuid.NewString()
	err = ch.PublishWithContext(ctx, "billing", "balance", false, false,
		amqp.Publishing{CorrelationId: id, ReplyTo: queue.Name, Body: body})
	if err != nil {
		return reply, err
	}
	for {
		select {
		case d := <-replies:
			if d.CorrelationId == id {
				return reply, json.Unmarshal(d.Body, &reply)
			}
		case <-ctx.Done():
			return reply, ctx.Err()
		}
	}
}

func rawConcurrent(ch *amqp.Channel, handle func(amqp.Delivery)) error {
	if err := ch.Qos(50, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume("billing.charge", "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for d := range deliveries {
				handle(d)
				_ = d.Ack(false)
			}
		})
	}
	workers.Wait()
	return nil
}

func rawShutdown(ctx context.Context, conn *amqp.Connection, deliveries <-chan amqp.Delivery, handle func(amqp.Delivery)) {
	go func() {
		for d := range deliveries {
			handle(d)
			_ = d.Ack(false)
		}
	}()
	<-ctx.Done()
	_ = conn.Close()
}
