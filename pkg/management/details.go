package management

import (
	"bytes"
	"context"
	"net/http"
)

// QueueDetails is what the management API knows of one queue, beside its numbers.
type QueueDetails struct {
	Queue

	Type           string         `json:"type"` // classic, quorum or stream
	State          string         `json:"state"`
	Node           string         `json:"node"` // its leader's, where it has several
	Members        []string       `json:"members"`
	Online         []string       `json:"online"`
	Arguments      map[string]any `json:"arguments"`
	Policy         string         `json:"policy"`
	OperatorPolicy string         `json:"operator_policy"`
	// Effective is what the policies set together. It is read leniently: nothing is an empty list on some versions.
	Effective lenient[map[string]any] `json:"effective_policy_definition"`
	Consumers []Consumer              `json:"consumer_details"`
}

// A Consumer is one consumer of a queue.
type Consumer struct {
	Tag      string                   `json:"consumer_tag"`
	Prefetch int                      `json:"prefetch_count"`
	Active   *bool                    `json:"active"` // false: it waits, as one of several with a single active consumer
	Channel  lenient[ConsumerChannel] `json:"channel_details"`
}

// ConsumerChannel is where a consumer is.
type ConsumerChannel struct {
	Connection string `json:"connection_name"`
	Peer       string `json:"peer_host"`
	User       string `json:"user"`
}

// A Binding leads messages from an exchange to a queue.
type Binding struct {
	Exchange   string         `json:"source"` // "" is the default exchange
	RoutingKey string         `json:"routing_key"`
	Arguments  map[string]any `json:"arguments"`
}

// lenient is an object that the API writes as an empty list if it knows nothing.
type lenient[T any] struct{ Value T }

// UnmarshalJSON leaves the value as it is where b is no object.
func (l *lenient[T]) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return nil
	}
	return decode(b, &l.Value)
}

// Details returns what is known of one queue. Its errors are those of [Client.Call].
func (c *Client) Details(ctx context.Context, vhost, queue string) (*QueueDetails, error) {
	q := &QueueDetails{}
	if err := c.Call(ctx, http.MethodGet, nil, q, "queues", vhost, queue); err != nil {
		return nil, err
	}
	return q, nil
}

// Bindings returns the bindings of a queue, without that of the default exchange, which every queue has. Its errors are
// those of [Client.Call].
func (c *Client) Bindings(ctx context.Context, vhost, queue string) ([]Binding, error) {
	var all []Binding
	if err := c.Call(ctx, http.MethodGet, nil, &all, "queues", vhost, queue, "bindings"); err != nil {
		return nil, err
	}
	var found []Binding
	for _, b := range all {
		if b.Exchange != "" {
			found = append(found, b)
		}
	}
	return found, nil
}
