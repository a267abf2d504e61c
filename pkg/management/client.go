package management

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// The errors that a caller can act on. Their texts never contain a password.
var (
	// ErrUnreachable: nothing answered.
	ErrUnreachable = errors.New("cannot be reached")
	// ErrRefused: the user or the password is wrong, or the user lacks the tag that the request needs.
	ErrRefused = errors.New("refuses the user")
	// ErrNotFound: the API does not have what the path names.
	ErrNotFound = errors.New("has nothing by that name")
)

// Config says where the API is and how to log in. URL or Broker is required.
type Config struct {
	// URL is the API's address, such as https://rabbit.example:15671. A login in it overrides the broker's. Default: on
	// the broker's host, https and port 15671 where the broker's URL is amqps, http and port 15672 where it is amqp. There is
	// no default where the broker is on this machine at another port than 5672 or 5671: that is a tunnel, or one broker of
	// several, and the login is not for what listens at 15672. Then every call fails with [ErrUnreachable].
	URL string
	// Broker is the AMQP URL of the broker whose API this is. Its login is used, which is guest and guest by default, as
	// it is over AMQP.
	Broker string
	// TLS is for https addresses. Default: the system's authorities, no client certificate.
	TLS *tls.Config
	// Access, if set, returns what Broker and TLS are from now on; it is called for each request. Of several brokers, the
	// nodes of a cluster, the next is asked where one cannot be reached. It must be safe for concurrent use.
	Access func() ([]string, *tls.Config)
	// Timeout bounds each request to one broker. Default: 30 s. Where the request's context ends earlier, each of several
	// brokers has its share of the time that is left.
	Timeout time.Duration
}

// A Client calls the management API. The login goes to the configured address and nowhere else: the client follows no
// redirect and uses no proxy. It keeps no connection open, so there is nothing to close. It is safe for concurrent use.
type Client struct {
	config   Config
	node     node         // as it was at the start
	answers  atomic.Int64 // the position of the node that was reached last
	pageSize int
}

// node is where one API is, and how to log in there.
type node struct {
	base, username, password string // base is empty where it is not known
	broker                   string // its host and port
	weaker                   bool   // than the connection to the broker
}

// maxPageSize is the most that the API allows.
const maxPageSize = 500

// maxAnswer is how many bytes of an answer are read.
const maxAnswer = 64 << 20

// dialTimeout is for an address where nothing answers, as behind a firewall.
const dialTimeout = 5 * time.Second

// New makes a client without calling the API. It fails if one of the URLs is not one. Its errors never quote a URL, which
// may hold a password.
func New(c Config) (*Client, error) {
	nodes, _, err := c.nodes()
	if err != nil {
		return nil, err
	}
	return &Client{config: c, node: nodes[0], pageSize: maxPageSize}, nil
}

// nodes returns where to ask now, and the TLS configuration for it.
func (c Config) nodes() ([]node, *tls.Config, error) {
	brokers, secured := []string{c.Broker}, c.TLS
	if c.Access != nil {
		brokers, secured = c.Access()
	}
	if len(brokers) == 0 || c.URL != "" {
		brokers = append(brokers, "")[:1] // all have the same login
	}
	var all []node
	for _, b := range brokers {
		n, err := newNode(c.URL, b)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, n)
	}
	return all, secured, nil
}

func newNode(api, amqp string) (node, error) {
	u := &url.URL{}
	n := node{username: "guest", password: "guest"}
	if amqp != "" {
		broker, err := url.Parse(amqp)
		if err != nil || broker.Hostname() == "" || broker.Scheme != "amqp" && broker.Scheme != "amqps" {
			return n, errors.New("the broker's URL must look like amqps://user:password@host:port/vhost")
		}
		u = n.beside(broker)
		if api == "" && elsewhere(broker) {
			return n, nil
		}
		n.weaker = broker.Scheme == "amqps"
	}
	if api != "" || amqp == "" {
		var err error
		if u, err = url.Parse(api); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return n, errors.New("the URL of the management API must look like https://host:15671 or http://host:15672")
		}
	}
	if u.User != nil {
		n.username = u.User.Username()
		n.password, _ = u.User.Password()
	}
	n.weaker = n.weaker && u.Scheme == "http"
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	n.base = strings.TrimRight(u.String(), "/")
	return n, nil
}

// beside takes a broker's login, and returns where its API is by default.
func (n *node) beside(broker *url.URL) *url.URL {
	n.broker = broker.Host
	n.username = cmp.Or(broker.User.Username(), n.username)
	if password, ok := broker.User.Password(); ok { // without one, AMQP uses its default, too
		n.password = password
	}
	if broker.Scheme == "amqps" {
		return &url.URL{Scheme: "https", Host: net.JoinHostPort(broker.Hostname(), "15671")}
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(broker.Hostname(), "15672")}
}

// elsewhere reports whether a broker on this machine has a port that is not its own, so that neither need its API's be.
func elsewhere(broker *url.URL) bool {
	if port := broker.Port(); port == "" || port == "5672" || port == "5671" {
		return false
	}
	return slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, strings.ToLower(broker.Hostname()))
}

// URL returns the address of the API, the first of several, without a login and without a slash at its end. It is empty if
// the address is not known: see [Config].
func (c *Client) URL() string { return c.node.base }

// Warning returns what the user should know before the first call, or nothing: that the password goes over http, though
// the broker's own URL is encrypted.
func (c *Client) Warning() string {
	if !c.node.weaker {
		return ""
	}
	return "the password is sent unencrypted to the management API at " + c.node.base + ", though the broker's own URL is encrypted"
}

// Call makes one request to /api and the path, whose elements it escapes: "queues", vhost, name. It sends in as JSON
// unless that is nil, and decodes the answer into out unless that is nil. It fails with [ErrUnreachable], [ErrRefused],
// [ErrNotFound], the cause of ctx, or an error that quotes what the API said.
func (c *Client) Call(ctx context.Context, method string, in, out any, path ...string) error {
	return c.call(ctx, method, nil, in, out, path...)
}

func (c *Client) call(ctx context.Context, method string, query url.Values, in, out any, path ...string) error {
	address := "/api"
	for _, element := range path {
		address += "/" + url.PathEscape(element)
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	nodes, secured, err := c.config.nodes()
	if err != nil {
		return err
	}
	var unreachable error
	first := int(c.answers.Load())
	for i := range nodes {
		at := (first + i) % len(nodes)
		err := nodes[at].ask(ctx, c.client(ctx, secured, len(nodes)-i), method, address, body, out)
		if !errors.Is(err, ErrUnreachable) {
			c.answers.Store(int64(at))
			return err
		}
		unreachable = errors.Join(unreachable, err)
		if ctx.Err() != nil || method == http.MethodPost { // a second time may do more than the first
			break
		}
	}
	return unreachable
}

// client returns what makes one request, in its share of the time.
func (c *Client) client(ctx context.Context, secured *tls.Config, shares int) *http.Client {
	limit := cmp.Or(c.config.Timeout, 30*time.Second)
	if deadline, ok := ctx.Deadline(); ok && shares > 1 {
		limit = max(min(limit, time.Until(deadline)/time.Duration(shares)), time.Millisecond)
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: secured, DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       limit,
	}
}

// ask makes a request to one node.
func (n node) ask(ctx context.Context, client *http.Client, method, address string, body []byte, out any) error {
	if n.base == "" {
		return fmt.Errorf("the management API of the broker at %s %w: on this machine, another port than 5672 and 5671 does not say where it is", n.broker, ErrUnreachable)
	}
	request, err := http.NewRequestWithContext(ctx, method, n.base+address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.SetBasicAuth(n.username, n.password)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the whole URL
		}
		return fmt.Errorf("the management API at %s %w: %w", n.base, ErrUnreachable, err)
	}
	defer response.Body.Close()
	answer := io.LimitReader(response.Body, maxAnswer)
	if response.StatusCode >= http.StatusMultipleChoices {
		return n.refusal(response, answer)
	}
	if out == nil {
		return nil
	}
	text, err := io.ReadAll(answer)
	if err != nil { // it stopped in the middle of its answer
		return fmt.Errorf("the management API at %s %w: %w", n.base, ErrUnreachable, err)
	}
	if err := decode(text, out); err != nil {
		return fmt.Errorf("what answers at %s is not a management API: %w", n.base, err)
	}
	return nil
}

// decode decodes JSON. A number in an interface is a [json.Number], with all its digits.
func decode(text []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more behind the value")
	}
	return nil
}

// refusal is the error of an answer that is not a success.
func (n node) refusal(response *http.Response, answer io.Reader) error {
	if to, err := response.Location(); err == nil {
		return fmt.Errorf("the management API at %s answered %s: a redirect to %q, which is not followed: the password is only for the address given",
			n.base, response.Status, to.Scheme+"://"+to.Host)
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("the management API at %s %w %s (401): the password is wrong, or the user has no tag monitoring or management",
			n.base, ErrRefused, n.username)
	case http.StatusForbidden:
		return fmt.Errorf("the management API at %s %w %s (403), who may not do this", n.base, ErrRefused, n.username)
	case http.StatusNotFound:
		return fmt.Errorf("the management API at %s %w: %s", n.base, ErrNotFound, response.Request.URL.Path)
	}
	var said struct {
		Reason string `json:"reason"`
	}
	text := response.Status
	if json.NewDecoder(answer).Decode(&said) == nil && said.Reason != "" {
		text += ": " + said.Reason
	}
	return fmt.Errorf("the management API at %s answered %s", n.base, text)
}
