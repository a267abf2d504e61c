package docs_test

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// MakeThumbnail is a task of theirs. Celery says in the header "task" which one a message is.
var MakeThumbnail = leveret.NewCommand[Thumbnail]("media.thumbnail", leveret.At(leveret.Address{
	Exchange: "celery", RoutingKey: "celery", Queue: "celery", External: true, Type: leveret.NoType,
	Headers: map[string]string{"task": "media.thumbnail", "lang": "py"},
	Topology: topology.Topology{
		Exchanges: []topology.Exchange{{Name: "celery", Type: topology.Direct}},
		Queues:    []topology.Queue{{Name: "celery"}},
		Bindings:  []topology.Binding{{Exchange: "celery", RoutingKey: "celery", Queue: "celery"}},
	},
}))

var Media = leveret.NewService("media", leveret.Handles(MakeThumbnail), leveret.Sends(MakeThumbnail))

// Thumbnail is what the Python function takes: thumbnail(file, width).
type Thumbnail struct {
	File  string `json:"file"`
	Width int    `json:"width"`
}

// MarshalJSON makes the body of a task: arguments by position, arguments by name, and what follows the task.
func (t Thumbnail) MarshalJSON() ([]byte, error) {
	type named Thumbnail
	next := map[string]any{"callbacks": nil, "errbacks": nil, "chain": nil, "chord": nil}
	return json.Marshal([]any{[]any{}, named(t), next})
}

// UnmarshalJSON reads the arguments as Python does: first those by position, then those by name.
func (t *Thumbnail) UnmarshalJSON(body []byte) error {
	type named Thumbnail
	positional := []any{&t.File, &t.Width}
	return json.Unmarshal(body, &[]any{&positional, (*named)(t)})
}

func sendTask(ctx context.Context, client *leveret.Client, t Thumbnail) error {
	id := uuid.NewString()
	return MakeThumbnail.Send(ctx, client, t, leveret.MessageID(id), leveret.Header("id", id))
}

// massTransit is JSON under the content type that MassTransit asks for.
var massTransit = leveret.Codec{ContentType: "application/vnd.masstransit+json", Encode: json.Marshal, Decode: json.Unmarshal}

// OrderSubmitted is an event of theirs. MassTransit has an exchange for each type of message.
var OrderSubmitted = leveret.NewEvent[Envelope[OrderSubmittedEvent]]("order.submitted", leveret.Encoded(massTransit), leveret.At(leveret.Address{
	Exchange: "Shop.Contracts:OrderSubmitted", Queue: "warehouse-order-submitted", External: true, Type: leveret.NoType,
	Topology: topology.Topology{
		Exchanges: []topology.Exchange{{Name: "Shop.Contracts:OrderSubmitted", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "warehouse-order-submitted", Args: map[string]any{"x-queue-type": "quorum"}}},
		Bindings:  []topology.Binding{{Exchange: "Shop.Contracts:OrderSubmitted", Queue: "warehouse-order-submitted"}},
	},
}))

// OrderSubmittedEvent is the message itself.
type OrderSubmittedEvent struct {
	OrderID string `json:"orderId"`
}

// Envelope is what MassTransit puts around every message.
type Envelope[T any] struct {
	MessageID   string    `json:"messageId"`
	MessageType []string  `json:"messageType"`
	SentTime    time.Time `json:"sentTime"`
	Message     T         `json:"message"`
}

func envelope(e OrderSubmittedEvent) Envelope[OrderSubmittedEvent] {
	return Envelope[OrderSubmittedEvent]{
		MessageID: uuid.NewString(), MessageType: []string{"urn:message:Shop.Contracts:OrderSubmitted"}, SentTime: time.Now(), Message: e,
	}
}
