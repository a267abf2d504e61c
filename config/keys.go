package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Keys returns the keys common to all of Leveret's programs, in the order in which they are documented. They are read
// into [Config].
func Keys() []Key {
	return expand([]Key{
		{
			Name: "broker.url", Type: URLs, Default: "amqp://localhost:5672", Check: schemes("amqp", "amqps"),
			Usage: "RabbitMQ's address, amqp://user@host:port/vhost or amqps://…; several are tried in turn. A flag must not contain a password",
		},
		{Name: "broker.username", Type: String, Usage: "the user; overrides the one in the URL"},
		{Name: "broker.password", Type: String, Secret: true, Usage: "the password; overrides the one in the URL; its file is read again when it changes"},
		{
			Name: "broker.namespace", Type: String, Check: matches(`^[a-z0-9-]+(\.[a-z0-9-]+)*$`, "lowercase letters, digits, hyphens and dots"),
			Usage: "a prefix for exchanges, queues and routing keys, so that several systems can share a virtual host",
		},
		{
			Name: "broker.layout", Type: String, Default: "shared", OneOf: []string{"shared", "isolated"},
			Usage: "whether services share exchanges and retry tiers, or each has its own; the same for all services of a system",
		},
		{Name: "broker.declare", Type: Bool, Default: "true", Usage: "declare exchanges, queues and bindings; false where topology export's definitions were loaded"},
		{
			Name: "broker.request_queue_type", Type: String, Default: "classic", OneOf: []string{"classic", "quorum"},
			Usage: "the type of request queues; use quorum in a cluster, since a classic queue is lost with its node",
		},
		{
			Name: "broker.reply_to", Type: Strings, Check: replyTo,
			Usage: "queues that requests may be answered to, beside reply.* and, unless isolated, direct reply-to and amq.gen-*; names, or their beginnings and *: replies.*",
		},
		{Name: "broker.connect_timeout", Type: Duration, Default: "0s", Usage: "how long to try to connect at startup before the program ends, shared by all addresses; 0s means forever"},
		{Name: "broker.heartbeat", Type: Duration, Default: "10s", Check: atLeast(time.Second), Usage: "how often each side signals that it is alive"},
		{Name: "broker.max_backoff", Type: Duration, Default: "1s", Check: atLeast(time.Millisecond), Usage: "the longest random wait before the next attempt to connect"},
		{Name: "broker.consumer_timeout", Type: Duration, Default: "30m", Check: atLeast(time.Second), Usage: "the broker's own consumer_timeout, which cannot be asked for: after that time it takes a message back from a handler"},
		{
			Name: "broker.management_url", Type: URL, Check: schemes("http", "https"),
			Usage: "the management API, set where broker.url is; default: on the broker's host, https and port 15671 for amqps, http and port 15672 for amqp. Services do not need it",
		},
		{Name: "broker.tls.ca_file", Type: String, Usage: "PEM file with the certificate authorities to trust instead of the system's; read again when it changes"},
		{Name: "broker.tls.cert_file", Type: String, Usage: "PEM file with the client's certificate; read again when it changes"},
		{Name: "broker.tls.key_file", Type: String, Usage: "PEM file with the key of the client's certificate"},
		{Name: "broker.tls.server_name", Type: String, Usage: "the name in the broker's certificate, if it differs from the URL's host"},
		{Name: "broker.tls.insecure", Type: Bool, Usage: "accept any certificate; for experiments only"},

		{Name: "client.max_in_flight", Type: Int, Default: "512", Check: between(1, 65535), Usage: "how many publishes may wait for their confirm at once"},
		{Name: "client.max_body", Type: Int, Default: "16777216", Check: between(1, 512<<20), Usage: "the largest message to send, in bytes; a message over the broker's own limit closes the channel"},
		{Name: "client.reply_queue", Type: Bool, Usage: "receive replies in an exclusive queue instead of by direct reply-to; always so in the isolated layout"},

		{Name: "worker.concurrency", Type: Int, Default: "16", Check: between(1, 10_000), Usage: "how many handlers run at once, per queue"},
		{Name: "worker.prefetch", Type: Int, Default: "0", Check: between(0, 65535), Usage: "how many messages the broker delivers ahead, per queue; 0 means 64, or worker.concurrency if that is more"},
		{Name: "worker.handler_timeout", Type: Duration, Default: "5m", Check: atLeast(time.Millisecond), Usage: "how long a handler may take; with worker.stuck_after, no longer than broker.consumer_timeout"},
		{Name: "worker.stuck_after", Type: Duration, Default: "30s", Check: atLeast(time.Millisecond), Usage: "how long a handler may keep running after its timeout before it counts as stuck and the program ends"},
		{Name: "worker.drain_timeout", Type: Duration, Default: "30s", Check: atLeast(time.Millisecond), Usage: "how long running handlers may take to finish when the program shuts down"},
		{Name: "worker.no_quarantine", Type: Bool, Usage: "handle a message that came back often like any other, instead of alone; for handlers that wait for each other"},
		{Name: "worker.stacks", Type: Bool, Usage: "put a panic's stack trace into the dead letter; it may reveal what should not leak"},

		{Name: "http.address", Type: String, Default: Off, Check: listenAddress, Usage: "where to serve over HTTP; port 0 takes a free port, off serves nothing"},
		{
			Name: "http.tls", Type: String, Default: string(TLSAuto), OneOf: serverTLS(),
			Usage: "whether HTTP is encrypted, and clients need a certificate; auto is mutual where tls.cert_file is set, else off",
		},
		{Name: "http.max_connections", Type: Int, Default: "10000", Check: between(1, 1_000_000), Usage: "how many clients may be connected over HTTP at once; further ones wait"},
		{Name: "http.max_header_bytes", Type: Int, Default: "65536", Check: between(4096, 16<<20), Usage: "the largest header of a request, in bytes"},
		{Name: "http.read_header_timeout", Type: Duration, Default: "5s", Check: atLeast(time.Millisecond), Usage: "how long a client may take to send a request's header"},
		{Name: "http.read_timeout", Type: Duration, Default: "30s", Check: atLeast(time.Millisecond), Usage: "how long a client may take to send a whole request"},
		{Name: "http.idle_timeout", Type: Duration, Default: "2m", Check: atLeast(time.Millisecond), Usage: "how long a connection may wait for its next request; longer than clients and proxies keep theirs"},

		{Name: "grpc.address", Type: String, Default: Off, Check: listenAddress, Usage: "where to serve over gRPC; port 0 takes a free port, off serves nothing"},
		{
			Name: "grpc.tls", Type: String, Default: string(TLSAuto), OneOf: serverTLS(),
			Usage: "whether gRPC is encrypted, and clients need a certificate; auto is mutual where tls.cert_file is set, else off",
		},
		{Name: "grpc.max_connections", Type: Int, Default: "10000", Check: between(1, 1_000_000), Usage: "how many clients may be connected over gRPC at once; further ones wait"},

		{Name: "tls.ca_file", Type: String, Usage: "PEM file with the certificate authorities that other services' certificates must be of; default for calls: the system's"},
		{Name: "tls.cert_file", Type: String, Usage: "PEM file with this service's certificate, for serving and for calling; read again when it changes"},
		{Name: "tls.key_file", Type: String, Usage: "PEM file with the key of this service's certificate"},

		{Name: "log.level", Type: String, Default: "info", OneOf: []string{"debug", "info", "warn", "error"}, Usage: "the lowest level to log"},
		{Name: "log.format", Type: String, Default: "auto", OneOf: []string{"auto", "json", "text"}, Usage: "the format of the log; auto is text on a terminal and json elsewhere"},

		{
			Name: "telemetry.otlp_endpoint", Type: URL, Check: schemes("http", "https"),
			Usage: "where to send traces by OTLP over HTTP: http://collector:4318; default: OTEL_EXPORTER_OTLP_ENDPOINT, else nowhere",
		},

		{Name: "health.address", Type: String, Default: "127.0.0.1:8090", Check: listenAddress, Usage: "where to serve /healthz, /readyz and /metrics; port 0 takes a free port, off disables them"},
		{Name: "health.drain_delay", Type: Duration, Default: "0s", Usage: "how long to go on serving over HTTP and gRPC after /readyz has begun to fail, for load balancers to notice"},

		{
			Name: "cli.reveal_secrets", Type: Bool, NoFlag: true,
			Usage: "the right to see secret fields of payloads, with --reveal-secrets; the command line logs its use. Services do not need it",
		},

		{Name: "data.dir", Type: String, Usage: "the folder for files; default: $XDG_DATA_HOME/leveret, ~/.local/share/leveret"},
		{Name: "database.url", Type: URL, Check: databaseURL, Usage: "where a service keeps its state: sqlite:/path/to/file.db, or postgres://user@host:port/database for PostgreSQL; default: <service>.db in data.dir"},
		{Name: "database.password", Type: String, Secret: true, Usage: "the password for PostgreSQL; overrides the one in the URL; its file is read again for every connection"},
	})
}

// Off is the address of a server that is not wanted: health.address, http.address, grpc.address.
const Off = "off"

func replyTo(value any) error {
	for _, pattern := range value.([]string) { //nolint:forcetypeassert // of a key of type Strings
		if strings.Contains(strings.TrimSuffix(pattern, "*"), "*") {
			return fmt.Errorf("%q must be the name of a queue, or its beginning and *", pattern)
		}
	}
	return nil
}

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
				return fmt.Errorf("%q must begin with %s:// or %s://", RedactURL(raw), allowed[0], allowed[1])
			case u.Hostname() == "":
				return fmt.Errorf("%q has no host", RedactURL(raw))
			}
		}
		return nil
	}
}

func matches(pattern, what string) func(any) error {
	expression := regexp.MustCompile(pattern)
	return func(value any) error {
		if s := value.(string); !expression.MatchString(s) { //nolint:forcetypeassert // of a key of type String
			return fmt.Errorf("%q must consist of %s", s, what)
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
	if s == Off {
		return nil
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return fmt.Errorf("%q is not host:port, :port or off", s)
	}
	return nil
}
