package shoptest

import (
	"context"
	"encoding/json"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Caller answers requests by a function.
type Caller func(ctx context.Context, m *leveret.Message) (reply any, err error)

// Call implements leveret.Caller.
func (c Caller) Call(ctx context.Context, m *leveret.Message) error {
	reply, err := c(ctx, m)
	if err != nil {
		return err
	}
	m.Reply, err = json.Marshal(reply)
	return err
}
