package management

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Queue is what the management API knows of a queue, some seconds late. What the broker has not counted yet is nil.
type Queue struct {
	Name      string `json:"name"`
	Ready     *int   `json:"messages_ready"`
	Unacked   *int   `json:"messages_unacknowledged"`
	Consumers *int   `json:"consumers"`
	// Arguments are those that it was declared with. Only [Client.QueuesLike] asks for them.
	Arguments map[string]any `json:"arguments"`

	// HeadTimestamp is a number of seconds, in quotes or not, or "".
	HeadTimestamp json.RawMessage `json:"head_message_timestamp"`
	Stats         struct {
		Publish      *rate `json:"publish_details"`
		Ack          *rate `json:"ack_details"`
		DeliverNoAck *rate `json:"deliver_no_ack_details"`
		GetNoAck     *rate `json:"get_no_ack_details"`
	} `json:"message_stats"`
}

type rate struct {
	Rate float64 `json:"rate"`
}

// columns limits the answer to what Queue holds: a queue has some kilobytes otherwise.
const columns = "name,messages_ready,messages_unacknowledged,consumers,head_message_timestamp," +
	"message_stats.publish_details.rate,message_stats.ack_details.rate," +
	"message_stats.deliver_no_ack_details.rate,message_stats.get_no_ack_details.rate"

// Queues returns the queues of a virtual host by name, or those of the given names that exist. It asks page by page; a
// queue that is declared or deleted meanwhile may be missing. Its errors are those of [Client.Call].
//
// It is costly for the broker: a second or more for every 500 queues. Names spare it most of that.
func (c *Client) Queues(ctx context.Context, vhost string, names ...string) (map[string]Queue, error) {
	found := map[string]Queue{}
	patterns := anyOf(names)
	if len(names) == 0 {
		patterns = []string{""}
	}
	for _, pattern := range patterns {
		if err := c.matching(ctx, vhost, pattern, columns, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// QueuesLike returns the queues of a virtual host whose names match a regular expression, with their arguments and nothing
// that the broker has to count. Else it is as [Client.Queues] is.
func (c *Client) QueuesLike(ctx context.Context, vhost, pattern string) (map[string]Queue, error) {
	found := map[string]Queue{}
	return found, c.matching(ctx, vhost, pattern, "name,arguments", found)
}

// matching adds the queues whose names match the pattern to found.
func (c *Client) matching(ctx context.Context, vhost, pattern, columns string, found map[string]Queue) error {
	for page := 1; ; page++ {
		var list struct {
			Items []Queue `json:"items"`
			Pages int     `json:"page_count"`
		}
		query := url.Values{"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(c.pageSize)}, "columns": {columns}}
		if pattern != "" {
			query.Set("use_regex", "true")
			query.Set("name", pattern)
		}
		if err := c.call(ctx, http.MethodGet, query, nil, &list, "queues", vhost); err != nil {
			return err
		}
		for _, q := range list.Items {
			found[q.Name] = q
		}
		if page >= list.Pages {
			return nil
		}
	}
}

// maxPattern is how many bytes RabbitMQ 4.3 allows a regular expression of a name.
const maxPattern = 1024

// anyOf returns regular expressions that match these names, as few as are short enough.
func anyOf(names []string) (patterns []string) {
	pattern := ""
	for _, name := range names {
		name = regexp.QuoteMeta(name)
		if pattern != "" && len("^(")+len(pattern)+len("|")+len(name)+len(")$") > maxPattern {
			patterns, pattern = append(patterns, "^("+pattern+")$"), ""
		}
		if pattern != "" {
			pattern += "|"
		}
		pattern += name
	}
	if pattern != "" {
		patterns = append(patterns, "^("+pattern+")$")
	}
	return patterns
}

// In returns how many messages are published to the queue in a second; nil if the broker has not counted.
func (q Queue) In() *float64 {
	if q.Stats.Publish == nil {
		return nil
	}
	return &q.Stats.Publish.Rate
}

// Out returns how many messages leave the queue in a second, acked or taken without acks; nil if the broker has not
// counted.
func (q Queue) Out() *float64 {
	var total float64
	known := false
	for _, r := range []*rate{q.Stats.Ack, q.Stats.DeliverNoAck, q.Stats.GetNoAck} {
		if r != nil {
			total += r.Rate
			known = true
		}
	}
	if !known {
		return nil
	}
	return &total
}

// Oldest returns the age in seconds of the oldest message; nil if the queue does not report it. Classic queues do, of
// messages that have a timestamp.
func (q Queue) Oldest(now time.Time) *float64 {
	seconds, err := strconv.ParseInt(strings.Trim(string(q.HeadTimestamp), `"`), 10, 64)
	if err != nil || seconds <= 0 {
		return nil
	}
	age := max(now.Sub(time.Unix(seconds, 0)).Seconds(), 0)
	return &age
}
