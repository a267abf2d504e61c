package peers

import (
	"cmp"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	commands    = "commands"
	requests    = "requests"
	deadLetters = "dead-letters"
	retryReturn = "retry.return"
	retryTier   = "retry.tier"
)

// WorkArgs are the arguments of every work queue, whoever declares it: those of Leveret.
func WorkArgs(queue string) amqp.Table {
	return amqp.Table{
		"x-queue-type":              "quorum",
		"x-delivery-limit":          int64(1000),
		"x-dead-letter-exchange":    deadLetters,
		"x-dead-letter-routing-key": queue,
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish",
	}
}

// declareWork declares the exchange of commands, the work queues, and where their dead letters go.
func declareWork(ch *amqp.Channel, s Setting) error {
	for _, exchange := range []string{commands, deadLetters} {
		if err := ch.ExchangeDeclare(exchange, "direct", true, false, false, false, nil); err != nil {
			return err
		}
	}
	for _, queue := range s.queues() {
		dlq := queue + ".dlq"
		if err := declareBound(ch, deadLetters, queue, dlq, amqp.Table{
			"x-queue-type": "quorum", "x-delivery-limit": int64(1_000_000), "x-overflow": "reject-publish",
		}); err != nil {
			return err
		}
		if err := declareBound(ch, commands, queue, queue, WorkArgs(queue)); err != nil {
			return err
		}
	}
	return nil
}

// declareRetry declares a tier in which messages wait for the delay, and the way back from it.
func declareRetry(ch *amqp.Channel, s Setting) error {
	if err := ch.ExchangeDeclare(retryTier, "fanout", true, false, false, false, nil); err != nil {
		return err
	}
	if err := ch.ExchangeDeclare(retryReturn, "direct", true, false, false, false, nil); err != nil {
		return err
	}
	if err := declareBound(ch, retryTier, "", retryTier, tierArgs(s)); err != nil {
		return err
	}
	return ch.QueueBind(s.Queue, s.Queue, retryReturn, false, nil)
}

func tierArgs(s Setting) amqp.Table {
	return amqp.Table{
		"x-queue-type":           "quorum",
		"x-message-ttl":          s.RetryDelay.Milliseconds(),
		"x-dead-letter-exchange": retryReturn,
		"x-dead-letter-strategy": "at-least-once",
		"x-overflow":             "reject-publish",
	}
}

// declareRequests declares the exchange of requests and the classic queue that they wait in.
func declareRequests(ch *amqp.Channel, s Setting) error {
	if err := ch.ExchangeDeclare(requests, "direct", true, false, false, false, nil); err != nil {
		return err
	}
	return declareBound(ch, requests, s.Queue, s.Queue, amqp.Table{"x-queue-type": "classic", "x-expires": int64(60_000)})
}

func declareBound(ch *amqp.Channel, exchange, key, queue string, args amqp.Table) error {
	if _, err := ch.QueueDeclare(queue, true, false, false, false, args); err != nil {
		return err
	}
	return ch.QueueBind(queue, key, exchange, false, nil)
}

// declareOver makes declarations over a connection of their own: for peers that declare less than is needed.
func declareOver(url string, s Setting, declare ...func(*amqp.Channel, Setting) error) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	for i := 0; err == nil && i < len(declare); i++ {
		err = declare[i](ch, s)
	}
	return cmp.Or(err, conn.Close())
}

func (s Setting) queues() []string {
	if s.Queues != nil {
		return s.Queues
	}
	return []string{s.Queue}
}
