package devbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// node is what every node of ours has, however it runs.
type node struct {
	cfg      Config
	source   Source
	folder   folder
	ports    ports
	address  *address  // the Broker's
	guardian *guardian // nil for who joined a shared node
	failed   bool      // the last start did; its log is to be kept
}

// nodeEngine is an engine whose node we make ourselves.
type nodeEngine interface {
	engine
	// stopScript is the shell script that ends the node, whoever runs it.
	stopScript() string
	// configure writes the configuration for the node's ports. The node is down.
	configure(context.Context) error
	// discard ends what a failed start has left, except for the folder.
	discard(context.Context)
}

func (n *node) engine() nodeEngine {
	if n.source.Kind == Container {
		return &container{node: n}
	}
	return &process{node: n}
}

// startNode makes a node of our own and returns when it answers.
func startNode(ctx context.Context, cfg Config, source Source, g guard) (*Broker, error) {
	if !nodesPossible {
		return nil, errors.New("devbroker: a node of our own needs Unix processes; let RabbitMQ run elsewhere and set " + EnvBrokerURL)
	}
	f, err := makeFolder(cfg)
	if err != nil {
		return nil, fmt.Errorf("devbroker: %w: %w", ErrFolder, err)
	}
	b := &Broker{source: source}
	b.node = &node{cfg: cfg, source: source, folder: f, address: &b.address}
	e := b.node.engine()
	b.engine = e
	if err := os.WriteFile(f.sub("stop"), []byte(e.stopScript()), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("devbroker: %w", err), f.remove())
	}
	if b.node.guardian, err = startGuardian(f.path, g); err != nil {
		return nil, errors.Join(fmt.Errorf("devbroker: %w", err), f.remove())
	}
	began := time.Now()
	if err := b.node.firstStart(ctx, e); err != nil {
		err = fmt.Errorf("devbroker: RabbitMQ (%s) does not start: %w", source, err)
		if ctx.Err() != nil { // the caller's end is no riddle: nothing to be read in a log
			return nil, errors.Join(err, e.close(context.WithoutCancel(ctx)))
		}
		e.discard(context.WithoutCancel(ctx))
		return nil, errors.Join(err, b.node.guardian.tell(context.WithoutCancel(ctx), "keep"))
	}
	cfg.say("RabbitMQ %s answers after %.1f s: AMQP %s, management %s (guest, guest), folder %s",
		b.address.Version, time.Since(began).Seconds(), b.address.AMQP, b.address.Management, f.path)
	if tooOld(b.address.Version) {
		cfg.say("RabbitMQ %s is older than 3.10, the oldest that leveret is tested with", b.address.Version)
	}
	if cfg.Detach {
		stop, err := b.Detach()
		if err != nil {
			return nil, err
		}
		cfg.say("it stays when this program ends; to end it: %s", stop)
	}
	return b, nil
}

// errPortTaken: between our look and the node's start, somebody took a port.
var errPortTaken = errors.New("a port was taken in the meantime")

// firstStart finds ports for the node, and others where one got lost.
func (n *node) firstStart(ctx context.Context, e nodeEngine) error {
	for tries := 1; ; tries++ {
		var err error
		pick := freePorts
		if n.cfg.DefaultPorts && tries == 1 {
			pick = usualPorts
		}
		if n.ports, err = pick(); err != nil {
			return err
		}
		*n.address = address{
			AMQP:       fmt.Sprintf("127.0.0.1:%d", n.ports.AMQP),
			Management: fmt.Sprintf("http://127.0.0.1:%d", n.ports.Management),
			Username:   "guest", Password: "guest", VHost: "/",
		}
		if err = e.configure(ctx); err == nil {
			err = e.start(ctx)
		}
		if err == nil || !errors.Is(err, errPortTaken) || tries == 5 {
			return err
		}
		e.discard(context.WithoutCancel(ctx))
		n.cfg.say("a port was taken before RabbitMQ had it; trying others")
	}
}

// limited bounds one start.
func (n *node) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := n.cfg.StartTimeout
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
}

// awaitReady returns when AMQP and the management API answer, and it is this node
// that does; or when running says that it never will.
func (n *node) awaitReady(ctx context.Context, running func() error) error {
	for {
		if err := running(); err != nil {
			return err
		}
		version, err := n.address.ready(ctx, n.folder.clusterName())
		if err == nil {
			n.address.Version = version
			return nil
		}
		if stopped := sleep(ctx, 50*time.Millisecond); stopped != nil {
			return fmt.Errorf("%w (last: %w)", stopped, err)
		}
	}
}

// ready asks once whether the broker answers and bears the cluster name that its
// configuration gives it.
func (a address) ready(ctx context.Context, clusterName string) (version string, err error) {
	if _, err := a.probe(ctx); err != nil {
		return "", err
	}
	version, name, err := a.overview(ctx)
	if err == nil && name != clusterName {
		err = fmt.Errorf("the broker at %s is called %s, not %s", a.Management, name, clusterName)
	}
	return version, err
}

func (n *node) detach() (string, error) {
	if err := n.guardian.tell(context.Background(), "detach"); err != nil {
		return "", err
	}
	return "sh " + quoteIfNeeded(n.folder.sub("stop")), nil
}

func (n *node) close(ctx context.Context) error {
	if n.failed {
		return n.guardian.tell(ctx, "keep")
	}
	return n.guardian.tell(ctx, "end")
}

// quote makes one word of a shell's command line.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// quoteIfNeeded does so where people would.
func quoteIfNeeded(word string) string {
	if strings.ContainsAny(word, " \t'\"\\$`*?;&|<>()") {
		return quote(word)
	}
	return word
}
