package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"
)

// Keys returns the table of keys that every program of Leveret's has, in the order in which they are documented. [Config]
// is what they are read into.
func Keys() []Key {
	return expand([]Key{
		{
			Name: "broker.url", Type: URLs, Default: "amqp://localhost:5672/", Check: schemes("amqp", "amqps"),
			Usage: "RabbitMQ's address, amqp://user@host:port/vhost or amqps://…; several are tried in turn. A flag must not contain a password",
		},
		{Name: "broker.username", Type: String, Usage: "the user, instead of the URL's"},
		{Name: "broker.password", Type: String, Secret: true, Usage: "the password, instead of the URL's"},
		{
			Name: "broker.namespace", Type: String, Check: matches(`^[a-z0-9-]+(\.[a-z0-9-]+)*$`, "lower-case letters, digits, hyphens and dots"),
			Usage: "put before the names of exchanges, queues and routing keys, so that two systems share a virtual host",
		},
		{
			Name: "broker.layout", Type: String, Default: "shared", OneOf: []string{"shared", "isolated"},
			Usage: "shared, or isolated: each service has its own exchanges and retry tiers; the same for all services of a system",
		},
		{Name: "broker.declare", Type: Bool, Default: "true", Usage: "declare exchanges, queues and bindings; false for a user without the right to"},
		{
			Name: "broker.request_queue_type", Type: String, Default: "classic", OneOf: []string{"classic", "quorum"},
			Usage: "the queues that requests wait in; quorum for a cluster, since a classic queue dies with its node",
		},
		{Name: "broker.connect_timeout", Type: Duration, Default: "0s", Usage: "how long to try to connect at the start; 0s tries for ever"},
		{Name: "broker.heartbeat", Type: Duration, Default: "10s", Check: atLeast(time.Second), Usage: "how often each side shows that it lives"},
		{Name: "broker.max_backoff", Type: Duration, Default: "1s", Check: atLeast(time.Millisecond), Usage: "the longest random wait before the next attempt to connect"},
		{
			Name: "broker.management_url", Type: URL, Check: schemes("http", "https"),
			Usage: "the management API; default: port 15672 of the broker's host. Services do without it",
		},
		{Name: "broker.tls.ca_file", Type: String, Usage: "PEM file with the authorities to trust instead of the system's"},
		{Name: "broker.tls.cert_file", Type: String, Usage: "PEM file with the client's certificate"},
		{Name: "broker.tls.key_file", Type: String, Usage: "PEM file with the key of the client's certificate"},
		{Name: "broker.tls.server_name", Type: String, Usage: "the name in the broker's certificate, where it is not the URL's host"},
		{Name: "broker.tls.insecure", Type: Bool, Usage: "accept any certificate; for trying things out"},

		{Name: "client.max_in_flight", Type: Int, Default: "512", Check: between(1, 65535), Usage: "publishes that wait for their confirm at once"},
		{Name: "client.max_body", Type: Int, Default: "16777216", Check: between(1, 512<<20), Usage: "the largest message to send, in bytes; over the broker's own limit it closes the channel"},
		{Name: "client.reply_queue", Type: Bool, Usage: "take replies from an exclusive queue instead of direct reply-to"},

		{Name: "worker.concurrency", Type: Int, Default: "16", Check: between(1, 10_000), Usage: "handlers that run at once, per queue"},
		{Name: "worker.prefetch", Type: Int, Default: "0", Check: between(0, 65535), Usage: "messages that the broker hands over ahead, per queue; 0 is 64, or worker.concurrency if that is more"},
		{Name: "worker.handler_timeout", Type: Duration, Default: "5m", Check: atLeast(time.Millisecond), Usage: "how long a handler may take; keep it below the broker's consumer timeout (30m)"},
		{Name: "worker.stuck_after", Type: Duration, Default: "30s", Check: atLeast(time.Millisecond), Usage: "how long a handler may go on after its time is over; then the program ends, and the broker delivers its messages again"},
		{Name: "worker.drain_timeout", Type: Duration, Default: "30s", Check: atLeast(time.Millisecond), Usage: "how long running handlers may go on when the program is told to end"},
		{Name: "worker.stacks", Type: Bool, Usage: "put a panic's stack into the dead letter; stacks may hold what should not leak"},

		{Name: "log.level", Type: String, Default: "info", OneOf: []string{"debug", "info", "warn", "error"}, Usage: "the least level that is logged"},
		{Name: "log.format", Type: String, Default: "auto", OneOf: []string{"auto", "json", "text"}, Usage: "how; auto is text on a terminal, else json"},

		{
			Name: "telemetry.otlp_endpoint", Type: URL, Check: schemes("http", "https"),
			Usage: "where traces go, by OTLP over HTTP: http://collector:4318; default: OTEL_EXPORTER_OTLP_ENDPOINT, else nowhere",
		},

		{Name: "health.address", Type: String, Default: "127.0.0.1:8090", Check: listenAddress, Usage: "where /healthz, /readyz and /metrics are answered; port 0 is a free one, off is nowhere"},

		{Name: "data.dir", Type: String, Usage: "the folder for files; default: $XDG_DATA_HOME/leveret, ~/.local/share/leveret"},
		{Name: "database.url", Type: URL, Check: sqliteURL, Usage: "the database, as sqlite:/path/to/file.db; default: <service>.db in data.dir"},
	})
}

// HealthOff is the health.address of a program that answers nowhere.
const HealthOff = "off"

func schemes(allowed ...string) func(any) error {
	return func(value any) error {
		list, ok := value.([]string)
		if !ok {
			list = []string{value.(string)} //nolint:forcetypeassert // of a key of type URL
		}
		for _, raw := range list {
			u, err := url.Parse(raw)
			switch {
			case err != nil:
				return errors.New("it is not a URL")
			case u.Scheme != allowed[0] && u.Scheme != allowed[1]:
				return fmt.Errorf("%q does not begin with %s:// or %s://", RedactURL(raw), allowed[0], allowed[1])
			case u.Hostname() == "":
				return fmt.Errorf("%q names no host", RedactURL(raw))
			}
		}
		return nil
	}
}

func matches(pattern, what string) func(any) error {
	expression := regexp.MustCompile(pattern)
	return func(value any) error {
		if s := value.(string); !expression.MatchString(s) { //nolint:forcetypeassert // of a key of type String
			return fmt.Errorf("%q is not made of %s", s, what)
		}
		return nil
	}
}

func between(least, most int) func(any) error {
	return func(value any) error {
		if n := value.(int); n < least || n > most { //nolint:forcetypeassert // of a key of type Int
			return fmt.Errorf("%d is not between %d and %d", n, least, most)
		}
		return nil
	}
}

func atLeast(least time.Duration) func(any) error {
	return func(value any) error {
		if d := value.(time.Duration); d < least { //nolint:forcetypeassert // of a key of type Duration
			return fmt.Errorf("%v is less than %v", d, least)
		}
		return nil
	}
}

func listenAddress(value any) error {
	s := value.(string) //nolint:forcetypeassert // of a key of type String
	if s == HealthOff {
		return nil
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return fmt.Errorf("%q is not host:port, :port or off", s)
	}
	return nil
}

func sqliteURL(value any) error {
	_, err := sqlitePath(value.(string)) //nolint:forcetypeassert // of a key of type URL
	return err
}
