package leveret

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// ConnConfig says which broker to talk to, and how to appear there. The zero value of a field is its default.
type ConnConfig struct {
	// URLs are the addresses of the broker, or of the nodes of a cluster, tried in turn: amqp://user:password@host/vhost,
	// or amqps:// for TLS. Default amqp://guest:guest@localhost:5672.
	URLs []string
	// TLS holds the authorities to trust and the client's certificates, for amqps addresses. Default: the system's
	// authorities, no certificate.
	TLS *tls.Config
	// Access, if set, returns what URLs and TLS are from now on. It is called at the start and then before each round over
	// the addresses, so that a password or a certificate can be replaced while the program runs. It must be quick and safe
	// for concurrent use.
	Access func() ([]string, *tls.Config)
	// Name is what the connections are called in the management UI. Default: the name of the executable.
	Name string
	// Instance identifies the process among those of its service, in logs, messages and the names of exclusive queues. It
	// need not be unique. Default: host/pid.
	Instance string
	// Version is the program's, for the management UI. Optional.
	Version string
	// Namespace prefixes the names of all exchanges, queues and routing keys, so that two systems can share a virtual
	// host. Default: none.
	Namespace string
	// Layout is which exchanges and retry tiers services share: all those of one system use the same. Default
	// topology.Shared.
	Layout topology.Layout
	// NoDeclare declares no exchanges, queues and bindings: somebody else has to declare them. Declared and bound all the
	// same are the exclusive queues of a process, since nobody else can; and the queue of a request when it is missing,
	// since it expires a minute after its last worker.
	NoDeclare bool
	// RequestQueueType is topology.Classic, the default and the quicker one, or topology.Quorum: a classic queue is
	// unusable while the node of a cluster that holds it is down.
	RequestQueueType topology.QueueType
	// Heartbeat is how often each side shows that it lives. Default 10 s.
	Heartbeat time.Duration
	// MaxBackoff bounds the random wait before a broker that could not be reached is tried again. As soon as one of the
	// two connections is made, the other is tried at once. Default 1 s.
	MaxBackoff time.Duration
	// ConsumerTimeout is the broker's own consumer_timeout, which cannot be asked for over AMQP: after that time it takes
	// a message back from its handler. It is a mistake to give handlers longer. Default 30 min, as is the broker's.
	ConsumerTimeout time.Duration
	// OnFailure is called when an attempt to connect has failed and will be made again, with the reason: at the start,
	// while Connect blocks, and later. Two goroutines may call it at once; it must not block. Default: a warning is
	// logged, for the first failure and then every 30 s at most.
	OnFailure func(error)
	// Logger logs what no caller gets as an error: connections lost and made, failed messages. Default slog.Default().
	Logger *slog.Logger
	// TracerProvider and MeterProvider are OpenTelemetry's. Default: no spans and no metrics. Incoming traces are still
	// propagated.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	noWait bool
}

// A Conn is the way to a broker: one connection for publishing and one for consuming, since a broker under a resource
// alarm stops reading from those that publish. Both are made again whenever they are lost. It is safe for concurrent
// use.
type Conn struct {
	config   ConnConfig
	publish  *rabbit.Conn
	consume  *rabbit.Conn
	declarer *rabbit.Declarer
	names    topology.Names
	tel      *telemetry
}

// Connect blocks until both connections are open, or ctx ends. An unreachable broker is tried again while ctx lives;
// a refused login, a missing virtual host or an untrusted certificate is [ErrRefused] at once, and what is wrong in
// config is [InvalidArgument]. After that the connections are made again forever; [Conn.Ready] says how they are. Close
// ends them.
func Connect(ctx context.Context, config ConnConfig) (*Conn, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	tel, err := newTelemetry(config)
	if err != nil {
		return nil, err
	}
	c := &Conn{config: config, names: topology.Names{Namespace: config.Namespace, Layout: config.Layout}, tel: tel}
	backoff := rabbit.NewBackoff(config.MaxBackoff)
	if c.publish, err = rabbit.Dial(ctx, c.rabbitConfig("publish", backoff)); err != nil {
		return nil, byCode(err, Unknown)
	}
	if c.consume, err = rabbit.Dial(ctx, c.rabbitConfig("consume", backoff)); err != nil {
		return nil, byCode(errors.Join(err, c.publish.Close(ctx)), Unknown)
	}
	c.declarer = rabbit.NewDeclarer(c.consume)
	if err := tel.observe(c); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

// Open is Connect for a program that has work to do while the broker is away: it does not block. The connections are
// made in the background, and tried again whatever the reason for a failure, a refused login included; meanwhile sends,
// calls and workers wait, as after a lost connection. An error says that config is invalid.
func Open(config ConnConfig) (*Conn, error) {
	config.noWait = true
	return Connect(context.Background(), config)
}

func (c ConnConfig) withDefaults() (ConnConfig, error) {
	c.Name = cmp.Or(c.Name, filepath.Base(os.Args[0]))
	if c.Instance == "" {
		host, _ := os.Hostname()
		c.Instance = wire.Cut(cmp.Or(host, "localhost"), 80) + "/" + strconv.Itoa(os.Getpid())
	}
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.TracerProvider = cmp.Or[trace.TracerProvider](c.TracerProvider, nooptrace.NewTracerProvider())
	c.MeterProvider = cmp.Or[metric.MeterProvider](c.MeterProvider, noopmetric.NewMeterProvider())
	c.RequestQueueType = cmp.Or(c.RequestQueueType, topology.Classic)
	c.Layout = cmp.Or(c.Layout, topology.Shared)
	c.ConsumerTimeout = cmp.Or(c.ConsumerTimeout, 30*time.Minute)
	var reserved error
	for segment := range strings.SplitSeq(c.Namespace, ".") {
		reserved = errors.Join(reserved, reservedOwner(segment))
	}
	switch {
	case c.RequestQueueType != topology.Classic && c.RequestQueueType != topology.Quorum:
		return c, Errorf(InvalidArgument, "RequestQueueType is %q; it must be classic or quorum", c.RequestQueueType)
	case c.Layout != topology.Shared && c.Layout != topology.Isolated:
		return c, Errorf(InvalidArgument, "Layout is %q; it must be shared or isolated", c.Layout)
	case c.Namespace != "" && !contractName.MatchString(c.Namespace) && !serviceName.MatchString(c.Namespace):
		return c, Errorf(InvalidArgument, "Namespace is %q; it must be lower-case letters, digits, hyphens and dots", c.Namespace)
	case reserved != nil:
		return c, Errorf(InvalidArgument, "Namespace is %q; %w", c.Namespace, reserved)
	}
	for _, s := range []struct {
		field, value string
		limit        int
	}{{"Namespace", c.Namespace, maxSegment}, {"Instance", c.Instance, maxInstance}, {"Name", c.Name, 127}, {"Version", c.Version, 63}} {
		if len(s.value) > s.limit { // or the names of queues and of consumers would be over AMQP's limit
			return c, Errorf(InvalidArgument, "%s has %d bytes; it may have %d", s.field, len(s.value), s.limit)
		}
	}
	return c, nil
}

func (c *Conn) rabbitConfig(purpose string, backoff *rabbit.Backoff) rabbit.Config {
	properties := map[string]any{"product": "Leveret", "instance": c.config.Instance, "purpose": purpose}
	if c.config.Version != "" {
		properties["version"] = c.config.Version
	}
	return rabbit.Config{
		URLs:       c.config.URLs,
		TLS:        c.config.TLS,
		Access:     c.config.Access,
		Name:       fmt.Sprintf("%s %s (%s)", c.config.Name, c.config.Instance, purpose),
		Properties: properties,
		Heartbeat:  c.config.Heartbeat,
		Backoff:    backoff,
		NoWait:     c.config.noWait,
		OnFailure:  c.config.OnFailure,
		Logger:     c.config.Logger.With("connection", purpose),
	}
}

// Await blocks until both connections are made, which they may be already. It returns an error when ctx ends, or the
// connection is closed.
func (c *Conn) Await(ctx context.Context) error {
	return byCode(cmp.Or(c.publish.Await(ctx), c.consume.Await(ctx)), Unknown)
}

// Ready returns nil while both connections are up and the broker takes messages, and else what is wrong.
func (c *Conn) Ready() error {
	var errs []error
	for i, conn := range []*rabbit.Conn{c.publish, c.consume} {
		if s := conn.State(); s.Phase != rabbit.Connected {
			err := fmt.Errorf("the connection for %s is %s since %s", []string{"publishing", "consuming"}[i], s.Phase, s.Since.Format(time.RFC3339))
			if s.Err != nil {
				err = fmt.Errorf("%w: %w", err, s.Err)
			}
			errs = append(errs, err)
		}
	}
	return byCode(errors.Join(errs...), Unavailable)
}

// Broker returns the address that the connection leads to now, without its password, and the broker's version.
func (c *Conn) Broker() (address, version string) {
	s := c.consume.State()
	return s.Address, s.Version
}

// Names returns what makes the names of exchanges and queues on this connection.
func (c *Conn) Names() topology.Names { return c.names }

// Rabbit returns the connection for consuming, for tools that look at queues. It belongs to c. Never publish on it: a
// broker that is short of memory or disk stops reading from a connection that publishes, acks included.
func (c *Conn) Rabbit() *rabbit.Conn { return c.consume }

// Publishing returns the connection for publishing, for tools that publish what no contract describes. It belongs to c.
func (c *Conn) Publishing() *rabbit.Conn { return c.publish }

// Close closes both connections, and cuts them when ctx ends. Close clients and stop workers first. Closing twice is
// allowed.
func (c *Conn) Close(ctx context.Context) error {
	if c.tel.registration != nil {
		_ = c.tel.registration.Unregister()
	}
	return errors.Join(c.publish.Close(ctx), c.consume.Close(ctx))
}

// Declare makes sure that what is in t exists on the broker, unless the connection was made with NoDeclare. It blocks, and
// fails, as [rabbit.Declarer.Declare] does. Clients and workers declare what they need themselves.
func (c *Conn) Declare(ctx context.Context, t topology.Topology) error {
	if c.config.NoDeclare {
		return nil
	}
	return c.declarer.Declare(ctx, t)
}

// Forget has the next call of Declare ask the broker again for what is in t: something in it may be missing by now.
func (c *Conn) Forget(t topology.Topology) { c.declarer.Forget(t) }

// uniqueInstance returns the instance with a random suffix, for the name of an exclusive queue. Programs may have
// several clients and workers of one service, and in containers every process has the same id.
func (c *Conn) uniqueInstance() string {
	return c.config.Instance + "-" + strings.ToLower(rand.Text()[:8])
}
