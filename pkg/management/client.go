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

// Config says where the API is and how to log in.
type Config struct {
	// URL is the API's address, such as http://localhost:15672. A user in it overrides Username and Password. It is
	// required.
	URL string
	// Username and Password log in. Default: guest and guest, as the broker's own default.
	Username, Password string
	// TLS is for https addresses. Default: the system's authorities, no client certificate.
	TLS *tls.Config
	// Timeout bounds each request. Default: 30 s.
	Timeout time.Duration
}

// A Client calls the management API. It keeps no connection open, so there is nothing to close. It is safe for
// concurrent use.
type Client struct {
	base, username, password string
	http                     *http.Client
	pageSize                 int
}

// maxPageSize is the most that the API allows.
const maxPageSize = 500

// maxAnswer is how many bytes of an answer are read.
const maxAnswer = 64 << 20

// New makes a client without calling the API. It fails if the URL is not one.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the URL of the management API must look like http://host:15672") // url.Parse's error holds the password
	}
	m := &Client{username: c.Username, password: c.Password, pageSize: maxPageSize}
	if c.Username == "" {
		m.username, m.password = "guest", "guest"
	}
	if u.User != nil {
		m.username = u.User.Username()
		m.password, _ = u.User.Password()
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	m.base = strings.TrimRight(u.String(), "/")
	m.http = &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS, DisableKeepAlives: true},
		Timeout:   cmp.Or(c.Timeout, 30*time.Second),
	}
	return m, nil
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
