package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// Broker says which RabbitMQ, and as whom.
type Broker struct {
	URLs             []string      `config:"url"`
	Username         string        `config:"username"`
	Password         string        `config:"password"`
	Namespace        string        `config:"namespace"`
	Layout           string        `config:"layout"`
	Declare          bool          `config:"declare"`
	RequestQueueType string        `config:"request_queue_type"`
	ConnectTimeout   time.Duration `config:"connect_timeout"`
	Heartbeat        time.Duration `config:"heartbeat"`
	MaxBackoff       time.Duration `config:"max_backoff"`
	ManagementURL    string        `config:"management_url"`
	TLS              TLS           `config:"tls"`
}

// TLS says how to trust the broker, and how to be trusted by it.
type TLS struct {
	CAFile     string `config:"ca_file"`
	CertFile   string `config:"cert_file"`
	KeyFile    string `config:"key_file"`
	ServerName string `config:"server_name"`
	Insecure   bool   `config:"insecure"`
}

// Addresses returns the broker's URLs with the user and the password that were given apart from them. They are to connect
// with, not to show: see [RedactURL].
func (b Broker) Addresses() []string {
	addresses := make([]string, 0, len(b.URLs))
	for _, raw := range b.URLs {
		u, err := url.Parse(raw)
		if err != nil { // Load has checked it
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

// ClientConfig reads the files and returns what to connect with; nil where nothing was asked for beyond an amqps URL.
func (t TLS) ClientConfig() (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil //nolint:nilnil // the zero value of what the caller fills
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.Insecure} //nolint:gosec // asked for
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("broker.tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("broker.tls.ca_file: %s holds no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("broker.tls.cert_file and broker.tls.key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// err tells what is wrong with the settings taken together.
func (b Broker) err() error {
	var errs []error
	if len(b.URLs) == 0 {
		errs = append(errs, errors.New("broker.url: no URL is given"))
	}
	if (b.TLS.CertFile == "") != (b.TLS.KeyFile == "") {
		errs = append(errs, errors.New("broker.tls.cert_file and broker.tls.key_file: only one of the two is given"))
	}
	if b.TLS != (TLS{}) {
		for _, raw := range b.URLs {
			if u, err := url.Parse(raw); err == nil && u.Scheme != "amqps" {
				errs = append(errs, fmt.Errorf("broker.tls is set, but %s would be spoken to in the clear: write amqps://", RedactURL(raw)))
			}
		}
	}
	return errors.Join(errs...)
}
