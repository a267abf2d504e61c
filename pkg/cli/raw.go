package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// rawOptions say where --raw sends to.
type rawOptions struct {
	on                   bool
	exchange, routingKey string
	contentType          string
	messageType          string
}

func (o *rawOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.on, "raw", false, "send any payload to any exchange or queue, unchecked and without a contract")
	f.StringVar(&o.exchange, "exchange", "", "with --raw: the exchange; empty is the default exchange, where routing keys are queues")
	f.StringVar(&o.routingKey, "routing-key", "", "with --raw: the routing key")
	f.StringVar(&o.contentType, "content-type", "", "with --raw: the content type; default application/json if the payload is JSON")
	f.StringVar(&o.messageType, "type", "", "with --raw: the type property, a contract's name")
}

var rawFlags = []string{"exchange", "routing-key", "content-type", "type"}

// unused refuses raw options without --raw.
func (o *rawOptions) unused(cmd *cobra.Command) error {
	for _, name := range rawFlags {
		if cmd.Flags().Changed(name) {
			return usage("", "--%s needs --raw: a contract has its own route", name)
		}
	}
	return nil
}

func (a *App) sendRaw(cmd *cobra.Command, o sendOptions, args []string) error {
	o.take(args)
	switch {
	case len(args) > 1:
		return usage("", "--raw takes no contract: give only the payload")
	case o.raw.exchange == "" && o.raw.routingKey == "":
		return usage("", "--raw needs --routing-key, --exchange, or both")
	case o.after != 0:
		return usage("", "--after needs a contract; it does not work with --raw")
	}
	s, err := a.sending(cmd, &o, "", "sent")
	if err != nil {
		return err
	}
	s.target = target{Exchange: &o.raw.exchange, RoutingKey: &o.raw.routingKey}
	s.check = func(payload []byte) ([]byte, error) { return payload, nil }
	s.open = func(_ context.Context, conn *leveret.Conn) (outlet, error) {
		publisher := rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{MaxInFlight: a.settings.maxInFlight, MaxBody: a.settings.maxBody})
		return &rawOutlet{app: a, rawOptions: o.raw, id: o.id, headers: s.headers, publisher: publisher, pipeline: publisher.Pipeline()}, nil
	}
	return s.run(cmd.Context(), &o.payloadOptions)
}

// rawOutlet sends anything to one exchange, under one routing key.
type rawOutlet struct {
	rawOptions
	app       *App
	id        string // of the only message; empty for new ones
	headers   map[string]string
	publisher *rabbit.Publisher
	pipeline  *rabbit.Pipeline
}

func (o *rawOutlet) write(ctx context.Context, payload []byte, done func(error)) (string, error) {
	contentType := o.contentType
	if contentType == "" && json.Valid(payload) {
		contentType = "application/json"
	}
	headers := rabbit.Table{}
	for name, value := range o.headers {
		headers[name] = value
	}
	id := cmp.Or(o.id, uuid.Must(uuid.NewV7()).String())
	return id, o.pipeline.Publish(ctx, &rabbit.Publication{
		Exchange: o.exchange, RoutingKey: o.routingKey, Mandatory: true,
		Publishing: rabbit.Publishing{
			Headers: headers, Body: payload, MessageId: id, ContentType: contentType, Type: o.messageType,
			DeliveryMode: 2, Timestamp: time.Now(), AppId: o.app.serviceName(),
		},
	}, func(err error) error { done(err); return err })
}

func (o *rawOutlet) flush(ctx context.Context) {
	_ = o.pipeline.Flush(ctx) // its errors are those of the outcomes
}

func (o *rawOutlet) explain(err error) error {
	switch {
	case errors.Is(err, rabbit.ErrUnroutable) && o.exchange == "":
		return Fail(ExitNotFound, o.app.Name+" queues --all", "%w: there is no queue %q", rabbit.ErrUnroutable, o.routingKey)
	case errors.Is(err, rabbit.ErrUnroutable):
		return Fail(ExitNotFound, o.app.Name+" queues --all", "%w", err)
	default:
		return o.app.explain(err)
	}
}

func (o *rawOutlet) close(ctx context.Context) error { return o.publisher.Close(ctx) }
