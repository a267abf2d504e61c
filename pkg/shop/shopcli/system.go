package shopcli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A system is the shop running: a broker, a folder with the services' stores, logs and settings, and their processes.
type system struct {
	broker *devbroker.Broker
	// url is the AMQP URL of the shop's virtual host, with its password.
	url string
	// vhost is the virtual host that was made for the shop, where the broker is not ours; else empty.
	vhost string
	dir   string
	// keep leaves dir where it is at the end.
	keep bool
	// layout is which exchanges and retry tiers the services share.
	layout topology.Layout
	// management is the management API's URL as it was configured, with its login if it has one; empty: the broker's.
	management string
	// health is where each service answers for its health; by name, else a free port.
	health   map[string]string
	healthMu sync.Mutex
	// logFormat and logLevel are the services'.
	logFormat, logLevel string
	// outlive lets the services go on when this process ends.
	outlive bool
	// extra is what a service has in its environment beside its settings.
	extra map[string][]string
}

// configured tells whether somebody named a broker: by flag, variable or file.
func configured(app *cli.App) bool {
	v, ok := app.Config().Value("broker.url")
	return ok && v.Origin.Source != config.FromDefault
}

// openSystem finds or starts a broker, and makes the folder. Where the broker is not ours, the shop gets a virtual host
// of its own if isolated says so. The folder is temporary where data is empty, and else kept, below data.
func openSystem(ctx context.Context, app *cli.App, node devbroker.Config, isolated bool, data string) (*system, error) {
	if configured(app) {
		b := app.Config().Config().Broker
		node.URL, node.ManagementURL = b.Addresses()[0], b.ManagementURL
	} else {
		node.Private = true
	}
	broker, err := devbroker.Start(ctx, node)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		if errors.Is(err, devbroker.ErrFolder) {
			return nil, cli.Fail(cli.ExitUsage, "", "%w", err)
		}
		next := ""
		if node.URL != "" {
			next = app.Name + " config show --origin tells who names this broker"
		}
		return nil, cli.Fail(cli.ExitUnreachable, next, "%w", err)
	}
	s := &system{
		broker: broker, url: broker.URL(), management: node.ManagementURL, extra: map[string][]string{},
		layout:    topology.Layout(app.Config().Config().Broker.Layout),
		logFormat: "json", logLevel: "info",
	}
	if err := s.furnish(ctx, app, isolated, data); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *system) furnish(ctx context.Context, app *cli.App, isolated bool, data string) error {
	if data != "" {
		s.dir, s.keep = filepath.Join(data, "shop"), true
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return cli.Fail(cli.ExitUsage, "", "--data: %w", err)
		}
		return nil
	}
	if node := s.broker.About().Dir; node != "" {
		s.dir = filepath.Join(node, "shop") // what ends the node takes it along
		return os.MkdirAll(s.dir, 0o700)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "leveret-shop-"); err != nil || !isolated {
		return err
	}
	name := "leveret-demo-" + strings.ToLower(rand.Text()[:8])
	if s.url, err = s.broker.VHost(ctx, name); err != nil {
		return cli.Fail(cli.ExitUnreachable, app.Name+" config show --origin, for broker.management_url, the user and the password",
			"a virtual host of the demo's own is made through the management API: %w", err)
	}
	s.vhost = name
	return nil
}

// close ends the broker, where it is ours, and removes the folder. The services must have ended.
func (s *system) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var errs []error
	if s.vhost != "" {
		errs = append(errs, s.broker.DeleteVHost(ctx, s.vhost))
	}
	if s.dir != "" && !s.keep {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(append(errs, s.broker.Close(ctx))...)
}

// rescue moves the folder out of the node's, so that it is there when the node is gone, and returns where it is. The node's
// log goes along.
func (s *system) rescue() (string, error) {
	kept, err := os.MkdirTemp("", "leveret-kept-")
	if err != nil {
		return "", err
	}
	at := filepath.Join(kept, "shop")
	if err := os.Rename(s.dir, at); err != nil {
		return "", err
	}
	s.dir = ""
	if log := s.broker.About().LogFile; log != "" {
		err = os.Rename(log, filepath.Join(at, "rabbitmq.log"))
	}
	return at, err
}

func (s *system) configFile() string { return filepath.Join(s.dir, config.FileName) }

func (s *system) logFile(name string) string { return filepath.Join(s.dir, name+".log") }

// paths are the services' stores.
func (s *system) paths() ledger.Paths {
	at := func(name string) string { return filepath.Join(s.dir, name+".db") }
	return ledger.Paths{Order: at("order"), Inventory: at("inventory"), Payment: at("payment")}
}

// writeConfig writes the file that services and people use to reach the system. It holds the broker's password.
func (s *system) writeConfig() error {
	broker := map[string]any{"url": []string{s.url}, "layout": string(s.layout), "connect_timeout": "30s"}
	if management := cmp.Or(s.management, s.broker.ManagementURL()); management != "" {
		broker["management_url"] = management
	}
	content, err := yaml.Marshal(map[string]any{
		"broker": broker,
		"data":   map[string]any{"dir": s.dir},
		"log":    map[string]any{"format": s.logFormat, "level": s.logLevel},
		"worker": map[string]any{"drain_timeout": "10s"},
	})
	if err != nil {
		return fmt.Errorf("the services' settings: %w", err)
	}
	return os.WriteFile(s.configFile(), content, 0o600)
}

// anyHealthAddress lets a service take a free port the next time, and tells whether it had a certain one until now.
func (s *system) anyHealthAddress(name string) bool {
	s.healthMu.Lock()
	defer s.healthMu.Unlock()
	_, certain := s.health[name]
	delete(s.health, name)
	return certain
}

// environment is what a service is started with: no setting of this process's, but those that are its own.
func (s *system) environment(name string) []string {
	s.healthMu.Lock()
	address := cmp.Or(s.health[name], "127.0.0.1:0")
	s.healthMu.Unlock()
	return append(append(cleanEnvironment(), config.EnvPrefix+"HEALTH_ADDRESS="+address), s.extra[name]...)
}
