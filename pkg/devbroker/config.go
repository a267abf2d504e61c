package devbroker

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/leveretmq/leveret/internal/plain"
)

// Environment variables read by Start and Find.
const (
	// EnvBrokerURL is the URL of a broker that is already running.
	EnvBrokerURL = "LEVERET_BROKER_URL"
	// EnvManagementURL names the management API of that broker.
	EnvManagementURL = "LEVERET_BROKER_MANAGEMENT_URL"
	// EnvBin is a folder that contains rabbitmq-server and rabbitmqctl.
	EnvBin = "LEVERET_RABBITMQ_BIN"
)

// Config configures a broker. The zero value is a throw-away node with the
// management API, from whatever source the machine offers.
type Config struct {
	// URL is a broker that is already running, to be used instead of starting one.
	// Defaults to LEVERET_BROKER_URL.
	URL string
	// ManagementURL is the management API of that broker. Default:
	// LEVERET_BROKER_MANAGEMENT_URL, and where that is unset https and port 15671 of the
	// same host where URL is amqps, http and port 15672 where it is amqp.
	ManagementURL string
	// TLS is for that broker, where URL is amqps, and for its management API, where that
	// is https. Default: the system's authorities, no client certificate.
	TLS *tls.Config
	// Private requires a new node even if LEVERET_BROKER_URL is set. Use it if you are
	// going to kill or stop the node. It cannot be combined with URL.
	Private bool
	// Bin is a folder with rabbitmq-server and rabbitmqctl.
	// Defaults to LEVERET_RABBITMQ_BIN, or else to what Find finds.
	Bin string
	// Image is the image used with Docker or Podman.
	// Defaults to docker.io/library/rabbitmq:4.3-management.
	Image string

	// Join lets the node join the cluster of a node that runs, and that Start has started in this process. It is a node with
	// ports and a folder of its own, of the same RabbitMQ, and with the same user and password: Bin and Password do not apply,
	// and URL is an error. Only processes can be joined, not containers (ErrContainer), and no node keeps its data: KeepData is an error
	// for all of them. Quorum queues that are declared after Start has returned have a member on each node, up to three.
	//
	// Each node is killed, stopped, started and closed by itself, in any order. A closed node stays a member, which the others
	// take for one that is down. A node starts only when most of the cluster's nodes do: bring them back side by side.
	Join *Broker

	// Dir is the node's folder, with its data, logs and configuration. It is created
	// if missing; an existing folder must be empty or left by an earlier node. The
	// path should be short. Defaults to a new folder in os.TempDir.
	Dir string
	// KeepData keeps Dir when the node ends, so that a later Start with the same Dir
	// finds its queues and messages again. It requires Dir. It has no effect on a
	// container, whose data are lost with it.
	KeepData bool
	// Password is the password of the node's user, guest. Default: a random one, which a kept folder remembers. Other
	// users of the machine can reach the node's ports; the password keeps them out.
	Password string
	// Conf contains further lines of rabbitmq.conf. They come last, so they override
	// the others.
	Conf string
	// Plugins are enabled in addition to rabbitmq_management.
	Plugins []string
	// Schedulers is the number of the VM's schedulers, and so of the cores it can use.
	// Defaults to two, or one on a machine with a single core.
	Schedulers int
	// DefaultPorts uses RabbitMQ's usual ports, 5672 for AMQP and 15672 for the
	// management API, if they are free.
	DefaultPorts bool
	// Detach lets the node outlive this process: see Broker.Detach.
	Detach bool
	// StartTimeout limits how long the node may take to start, not including the
	// download of packages or images. Defaults to two minutes.
	StartTimeout time.Duration

	// Output receives progress messages, one line per step: where the broker comes
	// from, what is fetched, and where it is stored. Defaults to none.
	Output io.Writer
}

// withDefaults fills in the environment and the defaults, and validates the result.
func (c Config) withDefaults() (Config, error) {
	if c.Private && c.URL != "" {
		return c, fmt.Errorf("devbroker: Config.Private excludes Config.URL (%s)", plain.URL(c.URL))
	}
	if c.KeepData && c.Dir == "" {
		return c, fmt.Errorf("devbroker: Config.KeepData requires Config.Dir: a new temporary folder would never be found again")
	}
	if c.StartTimeout < 0 {
		return c, fmt.Errorf("devbroker: Config.StartTimeout is %s; it must be positive, or 0 for two minutes", c.StartTimeout)
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 2 * time.Minute
	}
	if c.Join != nil {
		if err := c.Join.joinable(c); err != nil {
			return c, fmt.Errorf("devbroker: Config.Join: %w", err)
		}
		c.Private, c.Bin, c.Password = true, c.Join.source.Path, c.Join.address.Password
	}
	if c.URL == "" && !c.Private {
		c.URL = strings.TrimSpace(os.Getenv(EnvBrokerURL))
		c.ManagementURL = cmp.Or(c.ManagementURL, strings.TrimSpace(os.Getenv(EnvManagementURL))) // it is that broker's
	}
	if c.Bin == "" {
		c.Bin = strings.TrimSpace(os.Getenv(EnvBin))
	}
	if c.Schedulers <= 0 {
		c.Schedulers = min(2, runtime.NumCPU())
	}
	if c.Image == "" {
		c.Image = "docker.io/library/rabbitmq:4.3-management"
	}
	if c.Output == nil {
		c.Output = io.Discard
	}
	return c, nil
}

// erlangArgs stops an idle node from spinning, limits a busy one to its schedulers, and keeps other machines out.
func (c Config) erlangArgs() string {
	return fmt.Sprintf("+S %d:%d +sbwt none +sbwtdcpu none +sbwtdio none +B i %s", c.Schedulers, c.Schedulers, loopbackOnly)
}

// loopbackOnly lets an Erlang node take connections from other Erlang nodes only over the loopback interface. RabbitMQ's
// own setting for that, RABBITMQ_NODE_IP_ADDRESS, is about AMQP only.
const loopbackOnly = "-kernel inet_dist_use_interface {127,0,0,1}"

func (c Config) say(format string, args ...any) {
	fmt.Fprintf(c.Output, format+"\n", args...)
}
