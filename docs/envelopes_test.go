package docs_test

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

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
