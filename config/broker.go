package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/internal/trust"
)

// Broker holds the settings for connecting to RabbitMQ.
type Broker struct {
	URLs             []string      `config:"url"`
	Username         string        `config:"username"`
	Password         string        `config:"password"`
	Namespace        string        `config:"namespace"`
	Layout           string        `config:"layout"`
	Declare          bool          `config:"declare"`
	RequestQueueType string        `config:"request_queue_type"`
	ReplyTo          []string      `config:"reply_to"`
	ConnectTimeout   time.Duration `config:"connect_timeout"`
	Heartbeat        time.Duration `config:"heartbeat"`
	MaxBackoff       time.Duration `config:"max_backoff"`
	ConsumerTimeout  time.Duration `config:"consumer_timeout"`
	ManagementURL    string        `config:"management_url"`
	TLS              TLS           `config:"tls"`

	// ManagementUnused says why a broker.management_url that is set is not used, for a warning; ManagementURL is empty then.
	ManagementUnused string

	password *trust.Fresh[string] // nil where it is not in a file
}

// TLS holds the TLS settings of the connection to the broker.
type TLS struct {
	CAFile     string `config:"ca_file"`
	CertFile   string `config:"cert_file"`
	KeyFile    string `config:"key_file"`
	ServerName string `config:"server_name"`
	Insecure   bool   `config:"insecure"`
}

// Addresses returns the broker's URLs, with the separately configured user and password filled in. They contain
// secrets: use [RedactURL] before showing them.
func (b Broker) Addresses() []string {
	addresses := make([]string, 0, len(b.URLs))
	for _, raw := range b.URLs {
		u, err := url.Parse(raw)
		if err != nil { // cannot happen: Load has checked it
			continue
		}
		username, password := u.User.Username(), b.Password
		if b.Username != "" {
			username = b.Username
		}
		if password == "" {
			password, _ = u.User.Password()
		}
		switch {
		case password != "":
			if username == "" {
				username = "guest"
			}
			u.User = url.UserPassword(username, password)
		case username != "":
			u.User = url.User(username)
		}
		addresses = append(addresses, u.String())
	}
	return addresses
}

// pairManagement drops a management URL that need not be of this broker: a stronger source has replaced the broker's URL, but
// not that of its management API, which is on another host. That host would get the new broker's password, and answer for a
// broker that nobody asked about.
func (b *Broker) pairManagement(broker, api Origin) {
	if b.ManagementURL == "" || api.Source <= broker.Source ||
		slices.ContainsFunc(b.URLs, func(raw string) bool { return hostOf(raw) == hostOf(b.ManagementURL) }) {
		return
	}
	b.ManagementUnused = fmt.Sprintf("broker.management_url (set by %s) is not used: it is on another host than broker.url (set by %s), "+
		"whose password is not for it; set both in the same place", api.Where, broker.Where)
	b.ManagementURL = ""
}

// hostOf returns the host of a URL.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil { // cannot happen: Load has checked it
		return raw
	}
	return strings.ToLower(u.Hostname())
}

// err checks the settings in combination.
func (b Broker) err() error {
	var errs []error
	if len(b.URLs) == 0 {
		errs = append(errs, errors.New("broker.url: is required"))
	}
	if (b.TLS.CertFile == "") != (b.TLS.KeyFile == "") {
		errs = append(errs, errors.New("broker.tls.cert_file and broker.tls.key_file: set both or neither"))
	}
	if b.TLS != (TLS{}) {
		for _, raw := range b.URLs {
			if u, err := url.Parse(raw); err == nil && u.Scheme != "amqps" {
				errs = append(errs, fmt.Errorf("broker.tls is set, but %s is not encrypted; use amqps://", RedactURL(raw)))
			}
		}
	}
	return errors.Join(errs...)
}
