package devbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
)

// node is what all nodes have in common, however they run.
type node struct {
	cfg      Config
	source   Source
	folder   folder
	ports    ports
	address  *address  // the Broker's
	guardian *guardian // nil if we joined a shared node
	failed   bool      // the last start failed, so keep its log
}

// nodeEngine is an engine for nodes that we create.
type nodeEngine interface {
	engine
	// stopScript returns a shell script that ends the node and works for any caller.
	stopScript() string
	// configure writes the configuration for the node's ports. The node must be down.
	configure(context.Context) error
	// discard cleans up after a failed start, but keeps the folder.
	discard(context.Context)
}

func (n *node) engine() nodeEngine {
	if n.source.Kind == Container {
		return &container{node: n}
	}
	return &process{node: n}
}

// startNode creates a node, starts it, and returns when it answers.
func startNode(ctx context.Context, cfg Config, source Source, g guard) (*Broker, error) {
	f, err := makeFolder(cfg)
	if err != nil {
		return nil, fmt.Errorf("devbroker: %w: %w", ErrFolder, err)
	}
	b := &Broker{source: source}
	b.node = &node{cfg: cfg, source: source, folder: f, address: &b.address}
	e := b.node.engine()
	b.engine = e
	if err := f.write("stop", e.stopScript()); err != nil {
		return nil, errors.Join(fmt.Errorf("devbroker: %w", err), f.remove())
	}
	if b.node.guardian, err = startGuardian(f.path, g); err != nil {
		return nil, errors.Join(fmt.Errorf("devbroker: %w", err), f.remove())
	}
	began := time.Now()
	err = b.node.firstStart(ctx, e)
	if err == nil && cfg.Join != nil {
		err = cfg.Join.awaitMember(ctx, f.node(), cfg.StartTimeout)
	}
	if err != nil {
		err = fmt.Errorf("devbroker: RabbitMQ (%s) does not start: %w", source, err)
		if ctx.Err() != nil { // the caller cancelled the start, so nobody needs the log
			return nil, errors.Join(err, e.close(context.WithoutCancel(ctx)))
		}
		e.discard(context.WithoutCancel(ctx))
		return nil, errors.Join(err, b.node.guardian.order(context.WithoutCancel(ctx), "keep"))
	}
	if err := b.choosePassword(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("devbroker: set the password of the user %s: %w", username, err), e.close(context.WithoutCancel(ctx)))
	}
	cfg.say("RabbitMQ %s answers after %.1f s: AMQP %s, management %s, folder %s",
		b.address.Version, time.Since(began).Seconds(), b.address.AMQP, b.address.Management, f.path)
	if tooOld(b.address.Version) {
		cfg.say("RabbitMQ %s is older than 3.10, the oldest version that Leveret is tested with", b.address.Version)
	}
	if cfg.Detach {
		stop, err := b.Detach()
		if err != nil {
			return nil, err
		}
		cfg.say("it keeps running when this program ends; to end it: %s", stop)
	}
	return b, nil
}

// choosePassword replaces the password in data of an earlier node, if another one was chosen since, or none was.
func (b *Broker) choosePassword(ctx context.Context, cfg Config) error {
	chosen := cfg.Password
	if chosen == "" && b.address.Password == formerPassword {
		chosen = rand.Text()
	}
	if chosen == "" || chosen == b.address.Password {
		return nil
	}
	if err := b.address.setPassword(ctx, chosen); err != nil {
		return err
	}
	b.address.Password = chosen
	return b.node.folder.write(passwordFile, chosen)
}

// errPortTaken means that another process took a port between our check and the node's start.
var errPortTaken = errors.New("a port was taken in the meantime")

// firstStart finds ports for the node and starts it. If a port is taken in the
// meantime, it tries again with other ports.
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
		if n.cfg.Join != nil {
			n.ports.Epmd = n.cfg.Join.node.ports.Epmd
		}
		*n.address = address{
			AMQP:       fmt.Sprintf("127.0.0.1:%d", n.ports.AMQP),
			Management: fmt.Sprintf("http://127.0.0.1:%d", n.ports.Management),
			Username:   username, Password: n.folder.password, VHost: "/",
		}
		if err = e.configure(ctx); err == nil {
			err = e.start(ctx)
		}
		if err == nil || !errors.Is(err, errPortTaken) || tries == 5 {
			return err
		}
		e.discard(context.WithoutCancel(ctx))
		n.cfg.say("a port was taken before RabbitMQ could bind it; trying others")
	}
}

// limited limits the time for one start.
func (n *node) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := n.cfg.StartTimeout
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
}

// awaitReady returns when AMQP and the management API of this very node answer, or
// when running returns an error.
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
		if errors.Is(err, errOtherCluster) && n.cfg.Join != nil && n.address.alone(ctx) {
			return fmt.Errorf("it has not reached %s, and stands alone", n.cfg.Join.node.folder.node())
		}
		if stopped := sleep(ctx, 50*time.Millisecond); stopped != nil {
			return fmt.Errorf("%w (last: %w)", stopped, err)
		}
	}
}

// errOtherCluster means that the broker has another cluster name.
var errOtherCluster = errors.New("another cluster")

// ready checks once whether the broker answers and has the configured cluster name.
func (a address) ready(ctx context.Context, clusterName string) (version string, err error) {
	if _, err := a.probe(ctx); err != nil {
		return "", err
	}
	version, name, err := a.overview(ctx)
	if err == nil && name != clusterName {
		err = fmt.Errorf("%w: the broker at %s is called %s, not %s", errOtherCluster, a.Management, name, clusterName)
	}
	return version, err
}

func (n *node) detach() (string, error) {
	if err := n.guardian.order(context.Background(), "detach"); err != nil {
		return "", err
	}
	return "sh " + quoteIfNeeded(n.folder.sub("stop")), nil
}

func (n *node) close(ctx context.Context) error {
	if n.failed {
		return n.guardian.order(ctx, "keep")
	}
	return n.guardian.order(ctx, "end")
}

// quote quotes a word for a shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// quoteIfNeeded quotes a word for a shell only if it contains special characters.
func quoteIfNeeded(word string) string {
	if strings.ContainsAny(word, " \t'\"\\$`*?;&|<>()") {
		return quote(word)
	}
	return word
}
