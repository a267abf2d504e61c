package devbroker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFolder: the node's folder cannot be made, or is not the node's to take.
var ErrFolder = errors.New("this cannot be a node's folder")

// The errors of a broker whose life is not the caller's to change.
var (
	// ErrNotOurs: the broker ran before (LEVERET_BROKER_URL); it is only used.
	ErrNotOurs = errors.New("this broker was running already, devbroker only uses it")
	// ErrShared: the node serves other test binaries too.
	ErrShared = errors.New("this node is shared with other processes; a test that stops it needs devbroker.Start(ctx, devbroker.Config{Private: true})")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the broker was closed")
)

// Broker is a RabbitMQ node, or a broker that ran already. Its methods are safe
// for concurrent use; those that change the node's life wait for each other.
type Broker struct {
	source  Source
	address address
	engine  engine
	node    *node // nil for a broker that ran already

	mu     sync.Mutex // held while the node's life changes
	shared bool
	closed atomic.Bool
}

// address is how a broker is reached. It stays the same over restarts.
type address struct {
	AMQP       string // host and port
	TLS        bool
	Management string // base URL, no trailing slash, no login

	managementLogin *url.Userinfo // nil: the same as for AMQP
	Username        string
	Password        string
	VHost           string
	Version         string
}

// engine is the way a node is run: processes of our own, a container, or not at
// all. Broker calls one method at a time.
type engine interface {
	// start brings the node up and returns when it answers. No-op while it runs.
	start(context.Context) error
	stop(context.Context) error
	kill(context.Context) error
	// down tells whether the node is known not to run.
	down(context.Context) bool
	pause() error
	resume() error
	ctl(ctx context.Context, args ...string) ([]byte, error)
	// detach lets the node outlive this process and says how to end it.
	detach() (string, error)
	// close ends the node and removes what it left. Called once.
	close(context.Context) error
	about() About
}

// About says where a node lives, for people and for debugging.
type About struct {
	Dir     string // the node's folder; empty for a broker that ran already
	LogFile string // empty where there is none
	// Container is the name of the container, where there is one.
	Container string
	PID       int // of the Erlang VM; 0 where it is not a process of this machine's, or is down
}

// Start finds a broker, starts it, and returns when AMQP and the management API
// answer: after 4 to 8 s for a node from installed scripts, later where packages
// or an image have to be fetched first. Ending ctx ends the start, not a started
// node. On an error nothing is left running; the node's folder is kept where its
// log tells why.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return start(ctx, cfg, guard{})
}

// start takes the first way that works. Where packages or an image cannot be
// fetched, the next way may do; a node that does not start is an error.
func start(ctx context.Context, cfg Config, g guard) (*Broker, error) {
	var tried []error
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

// URL returns the AMQP URL of the default virtual host, password included:
// amqp://guest:guest@127.0.0.1:port/.
func (b *Broker) URL() string { return b.address.url(b.address.VHost) }

// ManagementURL returns the base of the management UI and API, without a
// trailing slash: http://127.0.0.1:port.
func (b *Broker) ManagementURL() string { return b.address.Management }

// Username returns the name of a user with the administrator tag.
func (b *Broker) Username() string { return b.address.Username }

// Password returns that user's password.
func (b *Broker) Password() string { return b.address.Password }

// Version returns RabbitMQ's version, such as 4.3.6.
func (b *Broker) Version() string { return b.address.Version }

// Source says where the broker came from.
func (b *Broker) Source() Source { return b.source }

// About says where the node lives.
func (b *Broker) About() About {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.engine.about()
}

// VHost creates a virtual host, gives the broker's user full permissions on it,
// and returns its AMQP URL. One that exists already is not an error. It goes
// through the management API.
func (b *Broker) VHost(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", errors.New("devbroker: a virtual host needs a name")
	}
	if err := b.address.createVHost(ctx, name); err != nil {
		return "", fmt.Errorf("devbroker: create virtual host %q: %w", name, err)
	}
	return b.address.url(name), nil
}

// DeleteVHost deletes a virtual host with everything in it. One that does not
// exist is not an error.
func (b *Broker) DeleteVHost(ctx context.Context, name string) error {
	if err := b.address.deleteVHost(ctx, name); err != nil {
		return fmt.Errorf("devbroker: delete virtual host %q: %w", name, err)
	}
	return nil
}

// Kill ends the node's Erlang VM with SIGKILL, as a crash would, and returns when
// it is gone. Data and ports stay; Start brings the node back.
//
// A node writes down that it has a new quorum queue up to a second after it was
// declared, confirms or not. Killed before that, it comes back with the queue empty
// (RabbitMQ 4.3.6) or stuck (3.10.8).
func (b *Broker) Kill() error {
	return b.change("kill", func() error { return b.engine.kill(context.Background()) })
}

// Stop shuts the node down in order, and returns when it is gone. Data and ports
// stay; Start brings the node back. Kill is much faster.
func (b *Broker) Stop(ctx context.Context) error {
	return b.change("stop", func() error { return b.engine.stop(ctx) })
}

// Start brings a node that is down back, with the same ports and data, and returns
// when it answers. Nothing happens where the node runs. After a start that failed,
// Close keeps the node's folder, since its log tells why.
func (b *Broker) Start(ctx context.Context) error {
	return b.change("start", func() error { return b.bringBack(ctx) })
}

func (b *Broker) bringBack(ctx context.Context) error {
	err := b.engine.start(ctx)
	if b.node != nil {
		b.node.failed = err != nil && ctx.Err() == nil // the caller's end is no riddle
	}
	return err
}

// AwaitEnd returns nil when the node is down, whoever ended it, and at once where
// it is: after a crash, Start brings it back. Until then it looks once a second,
// and when ctx ends, a last time; then it returns ctx's cause. A broker that ran
// before is not looked at.
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

// Restart is Stop, then Start.
func (b *Broker) Restart(ctx context.Context) error {
	return b.change("restart", func() error {
		if err := b.engine.stop(ctx); err != nil {
			return err
		}
		return b.bringBack(ctx)
	})
}

// Pause stops the node's process with SIGSTOP: connections stay open and nothing
// answers, as when a machine hangs. Resume lets it go on.
func (b *Broker) Pause() error { return b.change("pause", b.engine.pause) }

// Resume ends a Pause.
func (b *Broker) Resume() error { return b.change("resume", b.engine.resume) }

// Ctl runs rabbitmqctl against the node and returns its standard output. It boots
// an Erlang VM, which takes about a second; the management API is faster.
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

// Detach lets the node live on when its owner ends, and returns the command that
// ends it. Close after Detach does nothing.
func (b *Broker) Detach() (stop string, err error) {
	err = b.change("detach", func() error {
		stop, err = b.engine.detach()
		b.closed.Store(err == nil)
		return err
	})
	return stop, err
}

// Close ends the node at once and removes its folder (unless KeepData, or its last
// start failed), its epmd and its guardian. It returns when all of them are gone. A
// second Close does nothing, and so does the Close of a broker that was running
// already or is shared: that one ends with the last release.
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

// change runs one operation on the node's life.
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
	u := url.URL{Scheme: "amqp", Host: a.AMQP, User: url.UserPassword(a.Username, a.Password)}
	if a.TLS {
		u.Scheme = "amqps"
	}
	if vhost == "/" {
		return u.String() + "/"
	}
	return u.String() + "/" + url.PathEscape(vhost)
}
