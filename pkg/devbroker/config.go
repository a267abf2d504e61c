package devbroker

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"
)

// The environment that Start and Find obey.
const (
	// EnvBrokerURL names a broker that runs already.
	EnvBrokerURL = "LEVERET_BROKER_URL"
	// EnvManagementURL names the management API of that broker.
	EnvManagementURL = "LEVERET_BROKER_MANAGEMENT_URL"
	// EnvBin names a folder that holds rabbitmq-server and rabbitmqctl.
	EnvBin = "LEVERET_RABBITMQ_BIN"
)

// Config says what kind of broker Start makes. The zero value is a throw-away
// node with the management API, from whatever the machine offers.
type Config struct {
	// URL is a broker that runs already, to be used instead of a node of our
	// own. Default: LEVERET_BROKER_URL.
	URL string
	// ManagementURL is the management API of that broker. Default:
	// LEVERET_BROKER_MANAGEMENT_URL, and where that is unset port 15672 of the same host.
	ManagementURL string
	// Private demands a node of our own even where LEVERET_BROKER_URL is set: for
	// callers that are going to kill or stop it. It excludes URL.
	Private bool
	// Bin is a folder with rabbitmq-server and rabbitmqctl.
	// Default: LEVERET_RABBITMQ_BIN, and where that is unset whatever Find finds.
	Bin string
	// Image is what Docker or Podman runs, where it comes to that.
	// Default: docker.io/library/rabbitmq:4.3-management.
	Image string

	// Dir is the node's folder: data, logs, configuration. It is created where it
	// is missing; one that exists must be empty or an earlier node's.
	// Default: a fresh folder below os.TempDir. The path should be short.
	Dir string
	// KeepData leaves Dir in place when the node ends, so that a later Start with
	// the same Dir finds its queues and messages again. It needs Dir, and tools: a
	// container's data end with it.
	KeepData bool
	// Conf holds further lines of rabbitmq.conf. They come last, so they win.
	Conf string
	// Plugins are enabled in addition to rabbitmq_management.
	Plugins []string
	// Schedulers is the number of the VM's schedulers, that is how many cores it
	// can use. Default: two, or the machine's one.
	Schedulers int
	// DefaultPorts takes RabbitMQ's usual ports, 5672 for AMQP and 15672 for the
	// management API, each where nobody listens on it.
	DefaultPorts bool
	// Detach lets the node outlive its owner: see Broker.Detach.
	Detach bool
	// StartTimeout bounds one start of the node, the download of packages or
	// images not included. Default: two minutes.
	StartTimeout time.Duration

	// Output receives progress for people, one line per step: where the broker
	// comes from, what is fetched and where it is put. Default: nothing is said.
	Output io.Writer
}

// withDefaults reads the environment and checks what was given.
func (c Config) withDefaults() (Config, error) {
	if c.Private && c.URL != "" {
		return c, fmt.Errorf("devbroker: Config.Private excludes Config.URL (%s)", redact(c.URL))
	}
	if c.KeepData && c.Dir == "" {
		return c, fmt.Errorf("devbroker: Config.KeepData needs Config.Dir: a fresh temporary folder would never be found again")
	}
	if c.StartTimeout < 0 {
		return c, fmt.Errorf("devbroker: Config.StartTimeout is %s; it must be positive, or 0 for two minutes", c.StartTimeout)
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 2 * time.Minute
	}
	if c.URL == "" && !c.Private {
		c.URL = strings.TrimSpace(os.Getenv(EnvBrokerURL))
	}
	if c.ManagementURL == "" {
		c.ManagementURL = strings.TrimSpace(os.Getenv(EnvManagementURL))
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

// erlangArgs keeps an idle node from spinning and a busy one to its schedulers.
func (c Config) erlangArgs() string {
	return fmt.Sprintf("+S %d:%d +sbwt none +sbwtdcpu none +sbwtdio none +B i", c.Schedulers, c.Schedulers)
}

func (c Config) say(format string, args ...any) {
	fmt.Fprintf(c.Output, format+"\n", args...)
}

// redact hides the password of a URL; text that is no URL is hidden altogether.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
