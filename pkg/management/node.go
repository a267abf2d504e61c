package management

import (
	"context"
	"net/http"
	"net/url"
)

// A Node is one node of the broker, as the management API last saw it.
type Node struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
	// MemoryAlarm and DiskAlarm say that the node is short of memory or of disk. While one node of a cluster is, no node
	// reads from connections that publish.
	MemoryAlarm bool `json:"mem_alarm"`
	DiskAlarm   bool `json:"disk_free_alarm"`
	// Partitions are the nodes that this one believes to be on the other side of a network partition.
	Partitions []string `json:"partitions"`
}

// Nodes returns the nodes of the cluster. The user needs the tag monitoring. Its errors are those of [Client.Call].
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var nodes []Node
	query := url.Values{"columns": {"name,running,mem_alarm,disk_free_alarm,partitions"}}
	err := c.call(ctx, http.MethodGet, query, nil, &nodes, "nodes")
	return nodes, err
}

// Alarms returns what the node is short of: "memory", "disk", both or nothing.
func (n Node) Alarms() []string {
	var alarms []string
	if n.MemoryAlarm {
		alarms = append(alarms, "memory")
	}
	if n.DiskAlarm {
		alarms = append(alarms, "disk")
	}
	return alarms
}
