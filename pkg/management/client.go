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
	"strings"
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
	// the broker's host, https and port 15671 where the broker's URL is amqps, http and port 15672 where it is amqp.
	URL string
	// Broker is the AMQP URL of the broker whose API this is. Its login is used, which is guest and guest by default, as
	// it is over AMQP.
	Broker string
	// TLS is for https addresses. Default: the system's authorities, no client certificate.
	TLS *tls.Config
	// Timeout bounds each request. Default: 30 s.
	Timeout time.Duration
}

// A Client calls the management API. The login goes to the configured address and nowhere else: the client follows no
// redirect and uses no proxy. It keeps no connection open, so there is nothing to close. It is safe for concurrent use.
type Client struct {
	base, username, password string
	weaker                   bool // than the connection to the broker
	http                     *http.Client
	pageSize                 int
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
	u := &url.URL{}
	m := &Client{username: "guest", password: "guest", pageSize: maxPageSize}
	if c.Broker != "" {
		broker, err := url.Parse(c.Broker)
		if err != nil || broker.Hostname() == "" || broker.Scheme != "amqp" && broker.Scheme != "amqps" {
			return nil, errors.New("the broker's URL must look like amqps://user:password@host:port/vhost")
		}
		if name := broker.User.Username(); name != "" {
			m.username = name
		}
		if password, ok := broker.User.Password(); ok { // without one, AMQP uses its default, too
			m.password = password
		}
		u = &url.URL{Scheme: "http", Host: net.JoinHostPort(broker.Hostname(), "15672")}
		if broker.Scheme == "amqps" {
			u = &url.URL{Scheme: "https", Host: net.JoinHostPort(broker.Hostname(), "15671")}
		}
		m.weaker = broker.Scheme == "amqps"
	}
	if c.URL != "" || c.Broker == "" {
		var err error
		if u, err = url.Parse(c.URL); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("the URL of the management API must look like https://host:15671 or http://host:15672")
		}
	}
	if u.User != nil {
		m.username = u.User.Username()
		m.password, _ = u.User.Password()
	}
	m.weaker = m.weaker && u.Scheme == "http"
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	m.base = strings.TrimRight(u.String(), "/")
	m.http = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: c.TLS, DisableKeepAlives: true,
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       cmp.Or(c.Timeout, 30*time.Second),
	}
	return m, nil
}

// URL returns the address of the API, without a login and without a slash at its end.
func (c *Client) URL() string { return c.base }

// Warning returns what the user should know before the first call, or nothing: that the password goes over http, though
// the broker's own URL is encrypted.
func (c *Client) Warning() string {
	if !c.weaker {
		return ""
	}
	return "the password is sent unencrypted to the management API at " + c.base + ", though the broker's own URL is encrypted"
}

// Call makes one request to /api and the path, whose elements it escapes: "queues", vhost, name. It sends in as JSON
// unless that is nil, and decodes the answer into out unless that is nil. It fails with [ErrUnreachable], [ErrRefused],
// [ErrNotFound], the cause of ctx, or an error that quotes what the API said.
func (c *Client) Call(ctx context.Context, method string, in, out any, path ...string) error {
	return c.call(ctx, method, nil, in, out, path...)
}

func (c *Client) call(ctx context.Context, method string, query url.Values, in, out any, path ...string) error {
	address := c.base + "/api"
	for _, element := range path {
		address += "/" + url.PathEscape(element)
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, address, &body)
	if err != nil {
		return err
	}
	request.SetBasicAuth(c.username, c.password)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the whole URL
		}
		return fmt.Errorf("the management API at %s %w: %w", c.base, ErrUnreachable, err)
	}
	defer response.Body.Close()
	answer := io.LimitReader(response.Body, maxAnswer)
	if response.StatusCode >= http.StatusMultipleChoices {
		return c.refusal(response, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("what answers at %s is not a management API: %w", c.base, err)
	}
	return nil
}

// refusal is the error of an answer that is not a success.
func (c *Client) refusal(response *http.Response, answer io.Reader) error {
	if to, err := response.Location(); err == nil {
		return fmt.Errorf("the management API at %s answered %s: a redirect to %q, which is not followed: the password is only for the address given",
			c.base, response.Status, to.Scheme+"://"+to.Host)
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("the management API at %s %w %s (401): the password is wrong, or the user has no tag monitoring or management",
			c.base, ErrRefused, c.username)
	case http.StatusForbidden:
		return fmt.Errorf("the management API at %s %w %s (403), who may not do this", c.base, ErrRefused, c.username)
	case http.StatusNotFound:
		return fmt.Errorf("the management API at %s %w: %s", c.base, ErrNotFound, response.Request.URL.Path)
	}
	var said struct {
		Reason string `json:"reason"`
	}
	text := response.Status
	if json.NewDecoder(answer).Decode(&said) == nil && said.Reason != "" {
		text += ": " + said.Reason
	}
	return fmt.Errorf("the management API at %s answered %s", c.base, text)
}
