package devbroker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFolder means that the node's folder cannot be created, or that its content
// belongs to something else.
var ErrFolder = errors.New("this folder cannot be used for a node")

// Errors returned when the caller may not start or stop a broker.
var (
	// ErrNotOurs means that the broker was already running (LEVERET_BROKER_URL) and is not managed by devbroker.
	ErrNotOurs = errors.New("this broker was already running and is not managed by devbroker")
	// ErrShared means that the node also serves other test binaries.
	ErrShared = errors.New("this node is shared with other processes; a test that stops it needs devbroker.Start(ctx, devbroker.Config{Private: true})")
	// ErrContainer means that a node in a container cannot be joined.
	ErrContainer = errors.New("nodes in containers form no cluster; RabbitMQ installed on this machine does")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("the broker was closed")
)

// Broker is a RabbitMQ node, or a broker that was already running. Its methods are
// safe for concurrent use; those that start or stop the node run one at a time.
type Broker struct {
	source  Source
	address address
	engine  engine
	node    *node // nil for a broker that was already running

	mu     sync.Mutex // held while the node is started or stopped
	shared bool
	closed atomic.Bool
}

// address is where a broker is reached. It does not change across restarts.
type address struct {
	AMQP       string // host and port
	TLS        bool
	Management string // the URL of the management API, login included; by default derived from the broker's
	Username   string
	Password   string
	VHost      string
	Version    string

	// Of a broker that was already running.
	tls   *tls.Config
	query string // of its URL
}

// engine runs a node: as processes, in a container, or not at all. Broker calls one
// method at a time.
type engine interface {
	// start starts the node and returns when it answers. It is a no-op if the node runs.
	start(context.Context) error
	stop(context.Context) error
	kill(context.Context) error
	// down reports whether the node is known not to run.
	down(context.Context) bool
	pause() error
	resume() error
	ctl(ctx context.Context, args ...string) ([]byte, error)
	// detach lets the node outlive this process and returns the command that ends it.
	detach() (string, error)
	// close ends the node and cleans up after it. It is called once.
	close(context.Context) error
	about() About
}

// About describes where a node lives, for users and for debugging.
type About struct {
	Dir     string // the node's folder; empty for a broker that was already running
	LogFile string // empty if there is none
	// Container is the name of the container, if there is one.
	Container string
	// Node is the node's name in its cluster, such as leveret@localhost; empty for a broker that was already running.
	Node string
	PID  int // of the Erlang VM; 0 if it is down or not a process of this machine
}

// Start finds a broker, starts it, and returns when AMQP and the management API
// answer. That takes 4 to 8 s with installed scripts, and longer if packages or an
// image have to be fetched first. Cancelling ctx aborts the start but does not affect
// a started node. On error, nothing is left running; the node's folder is kept if its
// log explains the error.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return start(ctx, cfg, guard{})
}

// start uses the first source that works. If packages or an image cannot be fetched,
// it tries the next source; a node that does not start is an error.
func start(ctx context.Context, cfg Config, g guard) (*Broker, error) {
	var tried []error
	if cfg.Join != nil {
		return startNode(ctx, cfg, cfg.Join.source, g)
	}
	for _, look := range ways(cfg) {
		source, err := look(ctx)
		if err == nil {
			source, err = source.fetched(ctx, cfg)
		}
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("devbroker: %w", context.Cause(ctx))
		case err != nil:
			tried = append(tried, err)
			continue
		case source.Kind == External:
			return useExternal(ctx, cfg, source)
		}
		cfg.say("RabbitMQ from %s", source)
		return startNode(ctx, cfg, source, g)
	}
	return nil, notFound(cfg, tried)
}

// URL returns the AMQP URL of the default virtual host, password included, and without a slash at its end, which some
// clients take for a virtual host without a name:
// amqp://guest:password@127.0.0.1:port.
func (b *Broker) URL() string { return b.address.url(b.address.VHost) }

// ManagementURL returns the base of the management UI and API, without a
// trailing slash and without a login: http://127.0.0.1:port. It is empty if Config.URL names a broker whose API's address
// is not known.
func (b *Broker) ManagementURL() string {
	api, err := b.address.management()
	if err != nil { // cannot happen: the address was checked
		return ""
	}
	return api.URL()
}

// Username returns the name of a user with the administrator tag.
func (b *Broker) Username() string { return b.address.Username }

// Password returns that user's password.
func (b *Broker) Password() string { return b.address.Password }

// Version returns RabbitMQ's version, such as 4.3.6.
func (b *Broker) Version() string { return b.address.Version }

// Source returns where the broker came from.
func (b *Broker) Source() Source { return b.source }

// About describes where the node lives.
func (b *Broker) About() About {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.engine.about()
}

// VHost creates a virtual host through the management API, gives the broker's user
// full permissions on it, and returns its AMQP URL. It is not an error if the virtual
// host already exists.
func (b *Broker) VHost(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", errors.New("devbroker: a virtual host needs a name")
	}
	if err := b.address.createVHost(ctx, name); err != nil {
		return "", fmt.Errorf("devbroker: create virtual host %q: %w", name, err)
	}
	return b.address.url(name), nil
}

// DeleteVHost deletes a virtual host with everything in it. It is not an error if the
// virtual host does not exist.
func (b *Broker) DeleteVHost(ctx context.Context, name string) error {
	if err := b.address.deleteVHost(ctx, name); err != nil {
		return fmt.Errorf("devbroker: delete virtual host %q: %w", name, err)
	}
	return nil
}

// Kill ends the node's Erlang VM with SIGKILL, as a crash would, and returns when
// it is gone. Data and ports are kept; Start brings the node back.
//
// A node may take up to a second to persist a newly declared quorum queue, even after
// it has confirmed messages. If killed before that, it comes back with the queue empty
// (RabbitMQ 4.3.6) or stuck (3.10.8).
func (b *Broker) Kill() error {
	return b.change("kill", func() error { return b.engine.kill(context.Background()) })
}

// Stop shuts the node down gracefully and returns when it is gone. Data and ports
// are kept; Start brings the node back. Kill is much faster.
func (b *Broker) Stop(ctx context.Context) error {
	return b.change("stop", func() error { return b.engine.stop(ctx) })
}

// Start restarts a node that is down, with the same ports and data, and returns when
// it answers. It does nothing if the node is running. If Start fails, Close keeps the
// node's folder, since its log explains why.
func (b *Broker) Start(ctx context.Context) error {
	return b.change("start", func() error { return b.bringBack(ctx) })
}

func (b *Broker) bringBack(ctx context.Context) error {
	err := b.engine.start(ctx)
	if b.node != nil {
		b.node.failed = err != nil && ctx.Err() == nil // a cancelled start needs no log
	}
	return err
}

// AwaitEnd blocks until the node is down, for whatever reason, and then returns nil.
// After a crash, Start brings the node back. AwaitEnd checks once a second. When ctx
// ends, it checks a last time and then returns ctx's cause. A broker that was already
// running before Start never counts as down.
func (b *Broker) AwaitEnd(ctx context.Context) error {
	for {
		stopped := context.Cause(ctx)
		if b.down(ctx) {
			return nil
		}
		if stopped != nil {
			return stopped
		}
		_ = sleep(ctx, time.Second)
	}
}

func (b *Broker) down(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.engine.down(ctx)
}

// Restart calls Stop and then Start.
func (b *Broker) Restart(ctx context.Context) error {
	return b.change("restart", func() error {
		if err := b.engine.stop(ctx); err != nil {
			return err
		}
		return b.bringBack(ctx)
	})
}

// Pause suspends the node's process with SIGSTOP. Connections stay open but nothing
// answers, as when a machine hangs. Resume ends the pause.
func (b *Broker) Pause() error { return b.change("pause", b.engine.pause) }

// Resume ends a Pause.
func (b *Broker) Resume() error { return b.change("resume", b.engine.resume) }

// Ctl runs rabbitmqctl on the node and returns its standard output. It boots an Erlang
// VM, which takes about a second; the management API is faster.
func (b *Broker) Ctl(ctx context.Context, args ...string) ([]byte, error) {
	if b.closed.Load() {
		return nil, fmt.Errorf("devbroker: rabbitmqctl: %w", ErrClosed)
	}
	out, err := b.engine.ctl(ctx, args...)
	if err != nil {
		return out, fmt.Errorf("devbroker: rabbitmqctl: %w", err)
	}
	return out, nil
}

// Detach lets the node outlive this process and returns the shell command that ends
// it. After Detach, Close does nothing.
func (b *Broker) Detach() (stop string, err error) {
	err = b.change("detach", func() error {
		stop, err = b.engine.detach()
		b.closed.Store(err == nil)
		return err
	})
	return stop, err
}

// Close ends the node at once, together with its epmd and its guardian, and removes
// its folder unless KeepData is set or the last start failed. It returns when all of
// them are gone. A second Close does nothing, nor does closing a broker that was
// already running, or one that is shared, which ends with its last release.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shared || b.closed.Swap(true) {
		return nil
	}
	if err := b.engine.close(ctx); err != nil {
		return fmt.Errorf("devbroker: close: %w", err)
	}
	return nil
}

// change runs an operation that starts or stops the node.
func (b *Broker) change(verb string, op func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := ErrClosed
	switch {
	case b.closed.Load():
	case b.shared:
		err = ErrShared
	default:
		err = op()
	}
	if err != nil {
		return fmt.Errorf("devbroker: %s: %w", verb, err)
	}
	return nil
}

func (a address) url(vhost string) string {
	u := url.URL{
		Scheme: "amqp", Host: a.AMQP, User: url.UserPassword(a.Username, a.Password), RawQuery: a.query,
	}
	if a.TLS {
		u.Scheme = "amqps"
	}
	if vhost != "/" {
		u.Path, u.RawPath = "/"+vhost, "/"+url.PathEscape(vhost)
	}
	return u.String()
}
