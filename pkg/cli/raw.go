package cli

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// rawOptions send anything anywhere.
type rawOptions struct {
	on                   bool
	exchange, routingKey string
	contentType          string
	messageType          string
}

func (o *rawOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.on, "raw", false, "send anything anywhere: no contract, no check; needs --routing-key or --exchange")
	f.StringVar(&o.exchange, "exchange", "", "with --raw: the exchange; empty is the default one, whose routing keys are queues")
	f.StringVar(&o.routingKey, "routing-key", "", "with --raw: the routing key")
	f.StringVar(&o.contentType, "content-type", "", "with --raw: default application/json where the payload is JSON")
	f.StringVar(&o.messageType, "type", "", "with --raw: the type property, a contract's name")
}

var rawFlags = []string{"exchange", "routing-key", "content-type", "type"}

// unused refuses raw options without --raw.
func (o *rawOptions) unused(cmd *cobra.Command) error {
	for _, name := range rawFlags {
		if cmd.Flags().Changed(name) {
			return usage("", "--%s goes with --raw: a contract knows where it travels", name)
		}
	}
	return nil
}

func (a *App) sendRaw(ctx context.Context, o sendOptions, args []string) (failed error) {
	o.take(args)
	switch {
	case len(args) > 1:
		return usage("", "--raw takes no contract: give the payload alone")
	case o.raw.exchange == "" && o.raw.routingKey == "":
		return usage("", "--raw needs --routing-key, --exchange, or both")
	case o.after != 0:
		return usage("", "--after goes with a contract, not with --raw")
	}
	if err := o.check(""); err != nil {
		return err
	}
	if o.id != "" && o.total() != 1 {
		return usage("", "--id and many messages do not go together: every message has an id of its own")
	}
	if o.timeout <= 0 {
		return usage("", "--timeout is %v; it must be positive", o.timeout)
	}
	options, err := headers(o.headers)
	if err != nil {
		return err
	}
	pace, err := parsePace(o.rate)
	if err != nil {
		return err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx, conn.Close)
	publisher := rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{MaxInFlight: a.settings.maxInFlight, MaxBody: a.settings.maxBody})
	defer a.close(ctx, publisher.Close)
	var m leveret.Message
	for _, option := range options {
		option(&m)
	}
	var all []rawSent
	for payload, err := range o.payloads(a.IO.In) {
		if err == nil {
			err = pace.wait(ctx)
		}
		var one rawSent
		if err == nil {
			one, err = a.publishRaw(ctx, publisher, o, m.Headers, payload)
		}
		if err != nil {
			failed = err
			break
		}
		all = append(all, one)
		if err := a.printRaw(one, o.total()); err != nil {
			return err
		}
	}
	if a.Format() == FormatJSON && o.total() != 1 {
		if err := PrintList(a, all, nil); err != nil {
			return err
		}
	}
	if failed != nil && len(all) > 0 && ctx.Err() == nil {
		return Fail(ExitPartial, nextOf(failed), "%d sent and confirmed, then: %w", len(all), failed)
	}
	return failed
}

// printRaw tells of one message; a JSON list of several is written at the end.
func (a *App) printRaw(one rawSent, total int) error {
	switch a.Format() {
	case FormatJSON:
		if total != 1 {
			return nil
		}
		return writeJSON(a.IO.Out, one, false)
	case FormatJSONL:
		return writeJSON(a.IO.Out, one, false)
	default:
		exchange := one.Exchange
		if exchange == "" {
			exchange = "(default)"
		}
		return a.Printf("sent to %s, routing key %q, id=%s confirmed %s\n", exchange, one.RoutingKey, one.ID,
			short(time.Duration(one.ElapsedMS*float64(time.Millisecond))))
	}
}

func (a *App) publishRaw(ctx context.Context, publisher *rabbit.Publisher, o sendOptions, headers map[string]any, payload []byte) (rawSent, error) {
	contentType := o.raw.contentType
	if contentType == "" && json.Valid(payload) {
		contentType = "application/json"
	}
	id := o.id
	if id == "" {
		id = uuid.Must(uuid.NewV7()).String()
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	begun := time.Now()
	err := publisher.Publish(ctx, &rabbit.Publication{
		Exchange: o.raw.exchange, RoutingKey: o.raw.routingKey, Mandatory: true,
		Publishing: rabbit.Publishing{
			Headers: headers, Body: payload, MessageId: id, ContentType: contentType, Type: o.raw.messageType,
			DeliveryMode: 2, Timestamp: begun, AppId: a.serviceName(),
		},
	})
	elapsed := time.Since(begun)
	switch {
	case errors.Is(err, rabbit.ErrUnroutable) && o.raw.exchange == "":
		return rawSent{}, Fail(ExitNotFound, a.Name+" queues --all", "%w: there is no queue %q", rabbit.ErrUnroutable, o.raw.routingKey)
	case errors.Is(err, rabbit.ErrUnroutable):
		return rawSent{}, Fail(ExitNotFound, a.Name+" queues --all", "%w", err)
	case err != nil:
		return rawSent{}, a.explain(err)
	}
	return rawSent{o.raw.exchange, o.raw.routingKey, id, milliseconds(elapsed)}, nil
}

type rawSent struct {
	Exchange   string  `json:"exchange"`
	RoutingKey string  `json:"routing_key"`
	ID         string  `json:"id"`
	ElapsedMS  float64 `json:"elapsed_ms"`
}
