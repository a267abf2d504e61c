package growth

import (
	"context"
	"errors"
)

// held is what the broker's memory is for, in bytes, as it says itself.
type held struct {
	Readers  int64 `json:"connection_readers"`
	Writers  int64 `json:"connection_writers"`
	Channels int64 `json:"connection_channels"`
	Other    int64 `json:"connection_other"`
	Queues   int64 `json:"quorum_queue_procs"`
	Tables   int64 `json:"quorum_ets"`
	Binaries int64 `json:"binary"`
}

// connections is what the processes of connections and channels take.
func (h held) connections() int64 { return h.Readers + h.Writers + h.Channels + h.Other }

// queues is what quorum queues take, with the tables of what is not yet on disk, and binaries, most of which are bodies.
func (h held) queues() int64 { return h.Queues + h.Tables + h.Binaries }

// memory asks the broker what its memory is for.
func (g *grower) memory(ctx context.Context) (held, error) {
	var answer struct {
		Memory held `json:"memory"`
	}
	api, err := g.node.Management()
	if err != nil {
		return held{}, err
	}
	nodes, err := api.Nodes(ctx)
	if err != nil {
		return held{}, err
	}
	if len(nodes) == 0 {
		return held{}, errors.New("the broker has no nodes")
	}
	err = api.Call(ctx, "GET", nil, &answer, "nodes", nodes[0].Name, "memory")
	return answer.Memory, err
}
