package devbroker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/leveretmq/leveret/internal/plain"
)

// external is a broker that was already running. It is used, but never changed.
type external struct{}

// useExternal checks that the broker named by the caller or the environment answers.
func useExternal(ctx context.Context, cfg Config, source Source) (*Broker, error) {
	a, err := parseAddress(cfg.URL, cfg.ManagementURL, cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("devbroker: the broker's URL %s: %w", plain.URL(cfg.URL), err)
	}
	if _, err := a.management(); err != nil {
		return nil, fmt.Errorf("devbroker: %w", err)
	}
	if a.Version, err = a.probe(ctx); err != nil {
		err = fmt.Errorf("devbroker: the broker at %s does not answer: %w", plain.URL(cfg.URL), err)
		if cfg.URL == strings.TrimSpace(os.Getenv(EnvBrokerURL)) {
			err = fmt.Errorf("%w; for a private node: unset %s", err, EnvBrokerURL)
		}
		return nil, err
	}
	return &Broker{source: source, address: a, engine: external{}}, nil
}

// parseAddress parses an AMQP URL, with the usual defaults of AMQP clients.
func parseAddress(raw, management string, config *tls.Config) (address, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, fmt.Errorf("not a URL")
	}
	if u.Scheme != "amqp" && u.Scheme != "amqps" || u.Hostname() == "" {
		return address{}, fmt.Errorf("must look like amqp://user:password@host:5672/vhost")
	}
	a := address{TLS: u.Scheme == "amqps", tls: config, Username: "guest", Password: "guest", VHost: "/", query: u.RawQuery, Management: management}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "5672", true: "5671"}[a.TLS]
	}
	a.AMQP = net.JoinHostPort(u.Hostname(), port)
	if u.User != nil {
		a.Username = u.User.Username()
		if password, ok := u.User.Password(); ok {
			a.Password = password
		}
	}
	if vhost := strings.TrimPrefix(u.Path, "/"); vhost != "" {
		a.VHost = vhost
	}
	return a, nil
}

func (external) start(context.Context) error { return ErrNotOurs }
func (external) stop(context.Context) error  { return ErrNotOurs }
func (external) kill(context.Context) error  { return ErrNotOurs }
func (external) down(context.Context) bool   { return false }
func (external) pause() error                { return ErrNotOurs }
func (external) resume() error               { return ErrNotOurs }
func (external) detach() (string, error)     { return "", ErrNotOurs }
func (external) close(context.Context) error { return nil }
func (external) about() About                { return About{} }

func (external) ctl(context.Context, ...string) ([]byte, error) {
	return nil, fmt.Errorf("%w; run rabbitmqctl on the broker's own machine", ErrNotOurs)
}
