package devbroker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/leveretmq/leveret/internal/debs"
	"github.com/leveretmq/leveret/internal/plain"
)

// Kind is a kind of source for a broker.
type Kind string

// The kinds, in the order in which they are tried.
const (
	External  Kind = "running broker"
	Tools     Kind = EnvBin
	Installed Kind = "installed scripts"
	Packages  Kind = "apt packages"
	Container Kind = "container"
)

// Source is where a broker comes from.
type Source struct {
	Kind Kind
	// Path is the URL of a running broker (without its password), the folder of
	// the tools, or the program that runs containers.
	Path string
	// env is the additional environment of the tools, as key=value.
	env []string
}

// String returns a readable form: "installed scripts, /usr/lib/rabbitmq/bin".
func (s Source) String() string {
	if s.Path == "" {
		return string(s.Kind)
	}
	return fmt.Sprintf("%s, %s", s.Kind, s.Path)
}

// Find returns the source that Start would use, without fetching anything. If there is
// none, it returns the error that Start would return.
func Find(ctx context.Context, cfg Config) (Source, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Source{}, err
	}
	var tried []error
	for _, look := range ways(cfg) {
		source, err := look(ctx)
		if err == nil {
			return source, nil
		}
		tried = append(tried, err)
	}
	return Source{}, notFound(cfg, tried)
}

// ways returns the functions that look for a broker, in order. If the caller or the
// environment names a source, it is the only one.
func ways(cfg Config) []func(context.Context) (Source, error) {
	type looks = []func(context.Context) (Source, error)
	switch {
	case cfg.URL != "":
		return looks{func(context.Context) (Source, error) { return Source{Kind: External, Path: plain.URL(cfg.URL)}, nil }}
	case !nodesPossible:
		return nil
	case cfg.Bin != "":
		return looks{func(context.Context) (Source, error) { return toolsIn(cfg.Bin) }}
	}
	return looks{
		func(context.Context) (Source, error) { return installed() },
		func(context.Context) (Source, error) { return aptSource(cfg) },
		containerTool,
	}
}

// fetched downloads what the source needs, if anything, and returns the source.
func (s Source) fetched(ctx context.Context, cfg Config) (Source, error) {
	switch {
	case s.Kind == Packages && s.env == nil:
		a, err := newApt(cfg)
		if err != nil {
			return s, fmt.Errorf("%s: %w", Packages, err)
		}
		if s, err = a.fetch(ctx); err != nil {
			return s, fmt.Errorf("%s: %w", Packages, err)
		}
	case s.Kind == Container:
		if err := fetchImage(ctx, cfg, s.Path); err != nil {
			return s, fmt.Errorf("%s: %w", Container, err)
		}
	}
	return s, nil
}

// aptSource returns the packages fetched by an earlier start, or the place where they
// will be.
func aptSource(cfg Config) (Source, error) {
	if !debs.HasApt() {
		return Source{}, fmt.Errorf("%s: no apt-get on this machine", Packages)
	}
	a, err := newApt(cfg)
	if err != nil {
		return Source{}, fmt.Errorf("%s: %w", Packages, err)
	}
	if s, ok := a.unpacked(); ok {
		return s, nil
	}
	return Source{Kind: Packages, Path: a.bin()}, nil
}

// ErrNotFound means that this machine has no RabbitMQ and none could be fetched.
var ErrNotFound = errors.New("no RabbitMQ found, and none could be fetched")

// notFound lists all remedies, each with its command, and the sources that were tried.
func notFound(cfg Config, tried []error) error {
	if !nodesPossible {
		return notHere(runtime.GOOS, cfg.Image)
	}
	if cfg.Bin != "" { // only this folder was tried
		return fmt.Errorf("devbroker: %w", errors.Join(tried...))
	}
	text := `Any one of these helps:
  a broker already running     export ` + EnvBrokerURL + `=amqp://guest:guest@localhost:5672
  a folder with its tools      export ` + EnvBin + `=/path/to/rabbitmq/sbin
  Debian, Ubuntu               sudo apt-get install --no-install-recommends rabbitmq-server
  Fedora, RHEL                 sudo dnf install rabbitmq-server
  macOS, Homebrew              brew install rabbitmq
  Docker, Podman               docker pull ` + cfg.Image + `
Tried:`
	for _, err := range tried {
		text += "\n  " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return fmt.Errorf("devbroker: %w. %s", ErrNotFound, text)
}

// notHere is the error on a system where this package starts no node.
func notHere(system, image string) error {
	return fmt.Errorf(`devbroker: %w: no RabbitMQ is started on %s, only on Linux, macOS and BSD. Start one yourself, and set `+EnvBrokerURL+`:
  Docker       docker run -d -p 127.0.0.1:5672:5672 -p 127.0.0.1:15672:15672 %s
  PowerShell   $env:`+EnvBrokerURL+` = "amqp://guest:guest@localhost:5672"
  or use WSL, where everything works as on Linux`, ErrNotFound, system, image)
}
