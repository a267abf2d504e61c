package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// management is a client of RabbitMQ's management API, for what AMQP does not tell. It is a help, never needed: many
// users may not use it, and many brokers do not have it.
type management struct {
	base, username, password string
	http                     *http.Client
}

// managedQueue is what the management API knows of a queue. What it has not counted yet is nil.
type managedQueue struct {
	Name      string `json:"name"`
	Ready     *int   `json:"messages_ready"`
	Unacked   *int   `json:"messages_unacknowledged"`
	Consumers *int   `json:"consumers"`
	// Head is when the oldest message was sent, in seconds; most queues leave it out.
	Head  json.RawMessage `json:"head_message_timestamp"`
	Stats struct {
		Publish      *managedRate `json:"publish_details"`
		Ack          *managedRate `json:"ack_details"`
		DeliverNoAck *managedRate `json:"deliver_no_ack_details"`
		GetNoAck     *managedRate `json:"get_no_ack_details"`
	} `json:"message_stats"`
}

type managedRate struct {
	Rate float64 `json:"rate"`
}

// managedColumns are what is asked for: all that the API has of a queue is some kilobytes.
const managedColumns = "name,messages_ready,messages_unacknowledged,consumers,head_message_timestamp," +
	"message_stats.publish_details.rate,message_stats.ack_details.rate," +
	"message_stats.deliver_no_ack_details.rate,message_stats.get_no_ack_details.rate"

const (
	managementTimeout = 5 * time.Second
	managementPage    = 500 // the most that the API gives at once
)

// newManagement makes the client, which does nothing yet. close frees what it holds.
func newManagement(s settings) (*management, error) {
	base, username, password, err := s.management()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: s.tls}
	return &management{base, username, password, &http.Client{Transport: transport, Timeout: managementTimeout}}, nil
}

func (m *management) close() { m.http.CloseIdleConnections() }

// queues returns the queues of a virtual host by their names.
func (m *management) queues(ctx context.Context, vhost string) (map[string]managedQueue, error) {
	found := map[string]managedQueue{}
	for page := 1; ; page++ {
		var list struct {
			Items []managedQueue `json:"items"`
			Pages int            `json:"page_count"`
		}
		query := url.Values{"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(managementPage)}, "columns": {managedColumns}}
		if err := m.get(ctx, "/api/queues/"+url.PathEscape(vhost)+"?"+query.Encode(), &list); err != nil {
			return nil, err
		}
		for _, q := range list.Items {
			found[q.Name] = q
		}
		if page >= list.Pages {
			return found, nil
		}
	}
}

func (m *management) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+path, nil)
	if err != nil {
		return errors.New("broker.management_url is not a URL")
	}
	request.SetBasicAuth(m.username, m.password)
	response, err := m.http.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the whole URL
		}
		return fmt.Errorf("the management API at %s cannot be reached: %w", m.base, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the management API at %s %w %s, who needs the tag monitoring or management", m.base, errTagMissing, m.username)
	default:
		return fmt.Errorf("the management API at %s answered %s", m.base, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<20)).Decode(into); err != nil {
		return fmt.Errorf("what answers at %s is no management API: %w", m.base, err)
	}
	return nil
}

var errTagMissing = errors.New("refuses the user")

// hint says what to do about trouble with the management API.
func hint(trouble error) string {
	if errors.Is(trouble, errTagMissing) {
		return "rabbitmqctl set_user_tags gives it"
	}
	return "Set broker.management_url (LEVERET_BROKER_MANAGEMENT_URL) to where it is"
}

// in and out are how many messages come and go in a second; nil where nobody counts.
func (q managedQueue) in() *float64 {
	if q.Stats.Publish == nil {
		return nil
	}
	return &q.Stats.Publish.Rate
}

func (q managedQueue) out() *float64 {
	var total float64
	known := false
	for _, r := range []*managedRate{q.Stats.Ack, q.Stats.DeliverNoAck, q.Stats.GetNoAck} {
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

// oldest is the age of the oldest message, where the queue tells when it was sent.
func (q managedQueue) oldest(now time.Time) *float64 {
	seconds, err := strconv.ParseInt(strings.Trim(string(q.Head), `"`), 10, 64)
	if err != nil || seconds <= 0 {
		return nil
	}
	age := max(now.Sub(time.Unix(seconds, 0)).Seconds(), 0)
	return &age
}
