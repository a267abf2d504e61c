package rabbit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// What a publish or a call can end in. The errors that are returned wrap these, and the context's error where the
// context ended it; test with errors.Is.
var (
	// Not sent: nothing reached the broker.
	ErrNotConnected = errors.New("not connected to the broker")
	ErrBlocked      = errors.New("the broker takes no messages")
	ErrTooLarge     = errors.New("the message is too large")
	ErrInvalid      = errors.New("the message cannot be sent")
	ErrClosed       = errors.New("closed")

	// Refused: the broker said no.
	ErrUnroutable = errors.New("unroutable")
	ErrNacked     = errors.New("the broker did not take the message")
	ErrRefused    = errors.New("the broker refused access")

	// Unknown: bytes were written, and no answer came. It is an ErrOutcomeUnknown.
	ErrUnconfirmed error = unconfirmed{}
)

// ErrOutcomeUnknown is found by errors.Is in every error after which the message may have been handled.
var ErrOutcomeUnknown = errors.New("outcome unknown")

type unconfirmed struct{}

func (unconfirmed) Error() string        { return "unconfirmed" }
func (unconfirmed) Is(target error) bool { return target == ErrOutcomeUnknown }

// ErrException is wrapped by an ErrUnconfirmed of a call for which, or beside which, the broker has closed the channel or
// the connection.
var ErrException = errors.New("the broker closed the channel or the connection")

// ErrNotFound is the error of a queue that does not exist. The ErrUnroutable of a message to an exchange that does not
// exist wraps it, too.
var ErrNotFound = errors.New("it does not exist")

// ErrAlarm is wrapped, beside an ErrBlocked or an ErrUnconfirmed, while the broker has too little memory or disk.
var ErrAlarm = errors.New("resource alarm")

// ErrTookBack is the error of a channel that held messages for longer than the broker's consumer timeout.
var ErrTookBack = errors.New("the broker took back messages that were held for longer than its consumer timeout")

// ErrConfig is the error of a configuration that cannot be used.
var ErrConfig = errors.New("the configuration is wrong")

// because joins what happened with the reason, both visible to errors.Is.
func because(what, why error) error {
	return fmt.Errorf("%w: %w", what, why)
}

// ended returns what ended ctx, with its cause where that says more.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// exception finds out whether a channel was closed because of one particular publication. The protocol does not say
// which one it was; the text of the exception, which RabbitMQ has kept since 3.x, is all there is.
func exception(reason *amqp.Error, p *Publication) error {
	if reason == nil {
		return nil
	}
	exchange := cmp.Or(p.Exchange, "amq.default") // as RabbitMQ calls it
	switch reason.Code {
	case amqp.NotFound: // no exchange 'commands' in vhost '/'
		if strings.Contains(reason.Reason, "no exchange "+quoted(p.Exchange)+" in") {
			return fmt.Errorf("%w: the exchange %q: %w", ErrUnroutable, p.Exchange, ErrNotFound)
		}
	case amqp.AccessRefused:
		// write access to exchange 'commands' in vhost '/' refused for user 'x' (3.10 leaves the first word out)
		// write access to topic 'order.placed' in exchange 'events' in vhost '/' refused for user 'x'
		topic := strings.Contains(reason.Reason, "access to topic ")
		if strings.Contains(reason.Reason, "exchange "+quoted(exchange)+" in") &&
			(!topic || strings.Contains(reason.Reason, quoted(p.RoutingKey))) {
			return fmt.Errorf("%w: %s", ErrRefused, lacking("write", reason.Reason))
		}
	case amqp.PreconditionFailed: // message size 20971520 is larger than configured max size 16777216
		if strings.Contains(reason.Reason, "message size "+strconv.Itoa(len(p.Body))+" is larger") {
			return fmt.Errorf("%w for the broker: %s", ErrTooLarge, reason.Reason)
		}
	}
	return nil
}

// maxSpared is how often a flight is not suspected over the exchange of another: as a rule once is enough.
const maxSpared = 3

// namesExchange reports whether the broker closed a channel because of one exchange, which it names.
func namesExchange(reason *amqp.Error) bool {
	return (reason.Code == amqp.NotFound || reason.Code == amqp.AccessRefused) && strings.Contains(reason.Reason, "exchange '")
}

// blamed is the error of the one publication that a channel or a connection was closed for.
func blamed(reason *amqp.Error) error {
	switch reason.Code {
	case amqp.NotFound:
		return fmt.Errorf("%w: %w: %s", ErrUnroutable, ErrNotFound, reason.Reason)
	case amqp.AccessRefused:
		return fmt.Errorf("%w: %s", ErrRefused, lacking("write", reason.Reason))
	default:
		return fmt.Errorf("%w: the broker answered with %d %s", ErrInvalid, reason.Code, reason.Reason)
	}
}

// lacking puts the right that a user lacks into what RabbitMQ says of it. Before 4.0 it does not name the right.
func lacking(right, reason string) string {
	return strings.Replace(reason, "- access to", "- "+right+" access to", 1)
}

// costly reports whether the broker closed the connection because of what was tried on it, or beside it.
func costly(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && e.Server && !e.Recover && e.Code != amqp.ConnectionForced
}

func quoted(s string) string { return "'" + s + "'" }
