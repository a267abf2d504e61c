package rabbit

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/internal/plain"
)

// Config says how to reach a broker. The zero value of a field is its default.
type Config struct {
	// URLs are the addresses of one broker or of the nodes of one cluster, tried in turn:
	// amqp://user:password@host:port/vhost, or amqps:// for TLS. Default amqp://guest:guest@localhost:5672.
	// "?auth_mechanism=external" logs in by client certificate.
	URLs []string
	// TLS is used for amqps addresses: the authorities to trust, the client's certificates. Default: the system's
	// authorities and no certificate.
	TLS *tls.Config
	// Access, if set, returns what URLs and TLS are from now on. It is called at the start and then before each round over
	// the addresses, so that a connection that is made again uses the password and the certificates of that time. It must
	// be quick. URLs that are invalid, after the start, are logged, and those before are used.
	Access func() ([]string, *tls.Config)
	// Name is the connection's name in the management UI.
	Name string
	// Properties are further client properties, shown in the management UI.
	Properties map[string]any
	// Heartbeat is how often each side shows that it lives. A peer silent for some three of them is taken for dead.
	// Default 10 s.
	Heartbeat time.Duration
	// DialTimeout bounds one attempt to connect, TLS and login included. Default 10 s. While [Dial] runs with a deadline, an
	// attempt has no more than its share: the time left, divided by the addresses that the round has not tried yet.
	DialTimeout time.Duration
	// Backoff spaces the rounds over all addresses. Connections that lead to the same broker share one. Default: one of
	// the connection's own, up to 1 s.
	Backoff *Backoff
	// NoWait makes Dial return before the connection is made. Then a failure is never an error, a refused login neither.
	NoWait bool
	// OnFailure is called, one call at a time, when an attempt to connect has failed and will be made again, with the
	// reason. It must not block. Default: a warning is logged, for the first failure and then every 30 s at most.
	OnFailure func(error)
	// Logger logs connections that are made, lost or blocked. Default slog.Default().
	Logger *slog.Logger

	once bool // Dial tries each address once
}

// address is one parsed URL. What is shown of it has no password.
type address struct {
	shown  string
	plain  string      // as the driver is to see it: TLS is made here, below the look at the frames
	tls    *tls.Config // where TLS is asked for
	logins []amqp.Authentication
}

func (c Config) withDefaults() Config {
	c.Heartbeat = cmp.Or(c.Heartbeat, 10*time.Second)
	c.DialTimeout = cmp.Or(c.DialTimeout, 10*time.Second)
	c.Backoff = cmp.Or(c.Backoff, NewBackoff(0))
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

func (c Config) addresses() ([]address, error) {
	var all []address
	if c.Access != nil {
		c.URLs, c.TLS = c.Access()
	}
	if len(c.URLs) == 0 {
		c.URLs = []string{"amqp://guest:guest@localhost:5672"}
	}
	for i, raw := range c.URLs {
		a, err := parseAddress(raw, c.TLS)
		if err != nil {
			return nil, fmt.Errorf("%w: URLs[%d] %.100s: %w", ErrConfig, i, plain.URL(raw), err)
		}
		all = append(all, a)
	}
	if c.Heartbeat < time.Second {
		return nil, fmt.Errorf("%w: Heartbeat is %v; it must be 1 s or more", ErrConfig, c.Heartbeat)
	}
	if c.DialTimeout < 0 || c.Backoff.limit < 0 {
		return nil, fmt.Errorf("%w: DialTimeout and the backoff must not be negative", ErrConfig)
	}
	return all, nil
}

// expected is what a URL should look like.
const expected = "expected amqp://user:password@host:port/vhost, with special characters in the password percent-encoded"

// parseAddress checks a URL. Its errors never hold the URL, which may hold a password.
func parseAddress(raw string, secured *tls.Config) (address, error) {
	u, err := url.Parse(raw)
	switch {
	case errors.As(err, new(url.EscapeError)):
		return address{}, errors.New("not a URL: a percent sign must be written %25")
	case err != nil || u.User == nil && strings.Contains(raw, "@"):
		return address{}, errors.New("not a URL; " + expected)
	case u.Scheme != "amqp" && u.Scheme != "amqps":
		return address{}, fmt.Errorf("the scheme is %q; expected amqp or amqps", u.Scheme)
	case u.Hostname() == "":
		return address{}, errors.New("the host is missing; " + expected)
	}
	twice := u.Host[0] != '[' && strings.Count(u.Host, ":") > 1
	if n, err := strconv.ParseUint(cmp.Or(u.Port(), "5672"), 10, 16); err != nil || n == 0 || twice {
		return address{}, errors.New("there is no such port; expected 1 to 65535")
	}
	parsed, err := amqp.ParseURI(raw)
	if err != nil {
		return address{}, errors.New("not an AMQP URL; " + expected)
	}
	if parsed.CACertFile+parsed.CertFile+parsed.KeyFile+parsed.ServerName != "" {
		return address{}, errors.New("certificates are given in TLS, not in the URL")
	}
	logins, err := parseLogins(parsed)
	if err != nil {
		return address{}, err
	}
	u.User = nil // the driver, which quotes its URL in errors, gets the logins instead
	u.Host = net.JoinHostPort(parsed.Host, strconv.Itoa(parsed.Port))
	shown := &url.URL{Scheme: u.Scheme, Host: u.Host}
	if parsed.Vhost != "/" { // which a slash alone does not name to every client
		shown.Path, shown.RawPath = "/"+parsed.Vhost, "/"+url.PathEscape(parsed.Vhost)
	}
	if parsed.Username != "" {
		shown.User = url.User(parsed.Username)
	}
	a := address{shown: shown.String(), logins: logins}
	if u.Scheme == "amqps" {
		u.Scheme, a.tls = "amqp", cmp.Or(secured, &tls.Config{MinVersion: tls.VersionTLS12}).Clone()
		a.tls.ServerName = cmp.Or(a.tls.ServerName, parsed.Host)
	}
	a.plain = u.String()
	return a, nil
}
