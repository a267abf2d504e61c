package management

import (
	"context"
	"net/http"
	"net/url"
)

// An Alarm is why a broker takes no messages from those who publish: a node that is short of something.
type Alarm struct {
	Node string
	// Resource is what the node lacks: "memory" or "disk space".
	Resource string
}

// Alarms returns the alarms of all nodes. The user needs the tag monitoring or administrator; the errors are those of
// [Client.Call].
func (c *Client) Alarms(ctx context.Context) ([]Alarm, error) {
	var nodes []struct {
		Name   string `json:"name"`
		Memory bool   `json:"mem_alarm"`
		Disk   bool   `json:"disk_free_alarm"`
	}
	query := url.Values{"columns": {"name,mem_alarm,disk_free_alarm"}}
	if err := c.call(ctx, http.MethodGet, query, nil, &nodes, "nodes"); err != nil {
		return nil, err
	}
	var alarms []Alarm
	for _, n := range nodes {
		if n.Memory {
			alarms = append(alarms, Alarm{n.Name, "memory"})
		}
		if n.Disk {
			alarms = append(alarms, Alarm{n.Name, "disk space"})
		}
	}
	return alarms, nil
}
