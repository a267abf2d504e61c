package shopcli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/trust"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/devcerts"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	"github.com/leveretmq/leveret/pkg/shop/programs"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A system is the running shop: a broker, a folder with the services' stores, logs and settings, and their processes.
type system struct {
	broker *devbroker.Broker
	// url is the AMQP URL of the shop's virtual host, including the password.
	url string
	// chosen reports whether the user chose the password of our node.
	chosen bool
	// vhost is the virtual host created for the shop on a broker that is not ours. Otherwise it is empty.
	vhost string
	dir   string
	// keep prevents dir from being removed at the end.
	keep bool
	// rescued says that what is left is evidence, and was moved out of dir.
	rescued bool
	// layout is which exchanges and retry tiers the services share.
	layout topology.Layout
	// management is the configured URL of the management API, including its login if it has one. If empty, the broker's is
	// used.
	management string
	// database is where the services keep their state; nil where that is in files in dir.
	database *database
	// tls is how the broker is reached, if url is amqps. Its files have absolute paths.
	tls config.TLS
	// ports are those that it may give to services.
	ports *ports
	// addresses are where each service listens, by key.
	addresses map[string]map[string]string
	// certificates are those by which the services trust each other.
	certificates *devcerts.Set
	// transport is how the services call each other.
	transport string
	// logFormat and logLevel are the log settings of the services.
	logFormat, logLevel string
	// outlive lets the services keep running when this process ends.
	outlive bool
	// extra holds additional environment variables by service.
	extra map[string][]string
}

// configured reports whether a broker was configured by a flag, a variable or the file.
func configured(app *cli.App) bool {
	v, ok := app.Config().Value("broker.url")
	return ok && v.Origin.Source != config.FromDefault
}

// openSystem finds or starts a broker and creates the folder. If the broker is not ours and isolated is true, it
// creates a virtual host for the shop. The folder is created in data and kept, or is temporary if data is empty.
func openSystem(ctx context.Context, app *cli.App, node devbroker.Config, isolated bool, data string) (*system, error) {
	var secured config.TLS
	var err error
	if configured(app) {
		b := app.Config().Config().Broker
		node.URL, node.ManagementURL = b.Addresses()[0], b.ManagementURL
		if b.ManagementUnused != "" {
			app.Warn("%s", b.ManagementUnused)
		}
		if secured, err = absolute(b.TLS); err != nil {
			return nil, err
		}
		if node.TLS, err = secured.ClientConfig(); err != nil {
			return nil, cli.Fail(cli.ExitUsage, "", "%w", err)
		}
	} else {
		node.Private, node.Password = true, app.Config().Config().Broker.Password
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
			next = app.Name + " config show --origin shows where this broker is configured"
		}
		return nil, cli.Fail(cli.ExitUnreachable, next, "%w", err)
	}
	s := &system{
		broker: broker, url: broker.URL(), chosen: node.Password != "", management: node.ManagementURL, tls: secured,
		extra:     map[string][]string{},
		layout:    topology.Layout(app.Config().Config().Broker.Layout),
		logFormat: "json", logLevel: "info",
	}
	if api, err := broker.Management(); err == nil { // which Start has checked
		app.WarnOfClearText(api)
	}
	if err := s.furnish(ctx, app, isolated, data); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	if s.ports, err = reservePorts(); err == nil {
		err = s.chooseAddresses(node.DefaultPorts)
	}
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// absolute returns settings of TLS whose files are found from every folder.
func absolute(t config.TLS) (config.TLS, error) {
	for _, file := range []*string{&t.CAFile, &t.CertFile, &t.KeyFile} {
		if *file == "" {
			continue
		}
		path, err := filepath.Abs(*file)
		if err != nil {
			return config.TLS{}, err
		}
		*file = path
	}
	return t, nil
}

func (s *system) furnish(ctx context.Context, app *cli.App, isolated bool, data string) error {
	if err := s.makeFolder(ctx, app, isolated, data); err != nil {
		return err
	}
	var err error
	s.certificates, err = devcerts.Make(filepath.Join(s.dir, "certificates"), s.services()...)
	return err
}

// makeFolder creates the folder, and the virtual host.
func (s *system) makeFolder(ctx context.Context, app *cli.App, isolated bool, data string) error {
	if data != "" {
		s.dir, s.keep = filepath.Join(data, "shop"), true
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return cli.Fail(cli.ExitUsage, "", "--data: %w", err)
		}
		return nil
	}
	if node := s.broker.About().Dir; node != "" {
		s.dir = filepath.Join(node, "shop") // removed together with the node
		return os.MkdirAll(s.dir, 0o700)
	}
	var err error
	if s.dir, err = trust.Temporary("leveret-shop-"); err != nil || !isolated {
		return err
	}
	name := "leveret-demo-" + strings.ToLower(rand.Text()[:8])
	if s.url, err = s.broker.VHost(ctx, name); err != nil {
		return cli.Fail(cli.ExitUnreachable, app.Name+" config show --origin, for broker.management_url, the user and the password",
			"the demo could not create its virtual host through the management API: %w", err)
	}
	s.vhost = name
	return nil
}

// close ends the broker if it is ours, and removes the folder. The services must have ended.
func (s *system) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var errs []error
	if s.ports != nil {
		errs = append(errs, s.ports.close())
	}
	if s.vhost != "" {
		errs = append(errs, s.broker.DeleteVHost(ctx, s.vhost))
	}
	if !s.rescued {
		errs = append(errs, s.database.drop(ctx, s.services()))
	}
	if s.dir != "" && !s.keep {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(append(errs, s.broker.Close(ctx))...)
}

// rescue moves the folder and the node's log out of the node's folder, so that they survive the node, and returns the
// new path.
func (s *system) rescue() (string, error) {
	kept, err := trust.Temporary("leveret-kept-")
	if err != nil {
		return "", err
	}
	at := filepath.Join(kept, "shop")
	if err := os.Rename(s.dir, at); err != nil {
		return "", err
	}
	s.dir, s.rescued = "", true
	if log := s.broker.About().LogFile; log != "" {
		err = os.Rename(log, filepath.Join(at, "rabbitmq.log"))
	}
	return at, err
}

// logsReady reports whether the services log that they are ready.
func (s *system) logsReady() bool { return s.logLevel == "info" || s.logLevel == "debug" }

func (s *system) configFile() string { return filepath.Join(s.dir, config.FileName) }

func (s *system) logFile(name string) string { return filepath.Join(s.dir, name+".log") }

// store returns the source of a service's store.
func (s *system) store(name string) string {
	if s.database != nil {
		return s.database.source(name)
	}
	return filepath.Join(s.dir, name+".db")
}

// paths returns the sources of the stores in which orders leave traces.
func (s *system) paths() ledger.Paths {
	return ledger.Paths{Order: s.store("order"), Inventory: s.store("inventory"), Payment: s.store("payment")}
}

// services returns the names of all services.
func (s *system) services() []string {
	var names []string
	for _, p := range programs.All() {
		names = append(names, p.Service.Name())
	}
	return names
}

// writeConfig writes the file with which services and users reach the system. It contains the broker's password.
func (s *system) writeConfig() error {
	broker := map[string]any{"url": []string{s.url}, "layout": string(s.layout), "connect_timeout": "30s"}
	if s.tls != (config.TLS{}) {
		broker["tls"] = map[string]any{
			"ca_file": s.tls.CAFile, "cert_file": s.tls.CertFile, "key_file": s.tls.KeyFile,
			"server_name": s.tls.ServerName, "insecure": s.tls.Insecure,
		}
	}
	if management := cmp.Or(s.management, s.broker.ManagementURL()); management != "" {
		broker["management_url"] = management
	}
	settings := map[string]map[string]any{
		"broker": broker,
		"data":   {"dir": s.dir},
		"worker": {"drain_timeout": "10s"},
		"peers":  s.peers(),
	}
	if s.transport == transportAMQP {
		over := map[string]any{"transport": transportAMQP}
		settings["gateway"] = over
		settings["order"] = map[string]any{"payment": over}
		settings["user"] = map[string]any{"auth": over}
	}
	content, err := yaml.Marshal(settings)
	if err != nil {
		return fmt.Errorf("the services' settings: %w", err)
	}
	return os.WriteFile(s.configFile(), content, 0o600)
}

// environment returns the environment of a service. It does not include this process's settings.
func (s *system) environment(name string) []string {
	env := cleanEnvironment()
	set := func(key, value string) {
		env = append(env, config.EnvPrefix+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value)
	}
	for _, key := range listening {
		if address := s.address(name, key); address != "" {
			set(key, address)
		}
	}
	if s.database != nil { // each has another schema
		set("database.url", s.store(name))
	}
	// Not in the file: the command line reads that, too, and has its own level.
	set("log.format", s.logFormat)
	set("log.level", s.logLevel)
	return slices.Concat(env, s.certificates.Env(name), s.extra[name])
}
