package cli

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/topology"
)

// settings are the parts of the configuration that commands use.
type settings struct {
	urls             []string // with passwords; never printed
	tls              *tls.Config
	access           func() ([]string, *tls.Config) // urls and tls, as the files say at that moment
	names            topology.Names
	noDeclare        bool
	requestQueueType topology.QueueType
	connectTimeout   time.Duration
	heartbeat        time.Duration
	maxBackoff       time.Duration
	managementURL    string
	managementUnused string // what to warn of when the management API is asked
	maxInFlight      int
	maxBody          int
	replyQueue       bool
	logLevel         slog.Level
	revealSecrets    bool
}

// defaults are the CLI's own, different from a service's: a person does not wait forever, and does not read logs of
// success.
var defaults = map[string]string{"log.level": "warn", "broker.connect_timeout": "5s"}

// shownFlags are the flags of settings in the help of every command. The others work too; `config show` lists them.
var shownFlags = map[string]bool{"help": true, "config": true, "broker-url": true, "output": true, "color": true}

// AddKeys adds a program's own settings. An [Extra] calls it while it makes its command.
func (a *App) AddKeys(keys ...config.Key) { a.keys = append(a.keys, keys...) }

// AddFlags gives a command the flags of further sections of settings; every command has those of the broker, the log
// and the client. An [Extra] calls it while it makes its command.
func (a *App) AddFlags(cmd *cobra.Command, sections ...string) {
	a.moreFlags = append(a.moreFlags, func() { a.schema.AddFlags(cmd.Flags(), sections...) })
}

// Config returns the configuration: nil until a command runs, and in a command that needs none.
func (a *App) Config() *config.Loaded { return a.loaded }

// Schema returns the table of settings, with those that AddKeys added. It is nil until a command runs.
func (a *App) Schema() *config.Schema { return a.schema }

// settingFlags makes the table of settings, and the flags that every command has.
func (a *App) settingFlags(root *cobra.Command) {
	a.schema = config.New(a.keys...)
	flags := root.PersistentFlags()
	a.schema.AddFlags(flags, "broker", "client", "log")
	flags.VisitAll(func(f *pflag.Flag) {
		f.Hidden = f.Hidden || !shownFlags[f.Name]
	})
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "url" {
			name = "broker-url"
		}
		return pflag.NormalizedName(name)
	})
	for _, add := range a.moreFlags {
		add()
	}
}

// load reads the configuration for a command.
func (a *App) load(cmd *cobra.Command) error {
	loaded, err := a.schema.Load(cmd.Flags(), config.Options{Defaults: defaults})
	if err != nil {
		return usage("fix it; then "+a.Name+" config show --origin lists all settings", "the configuration is invalid: %w", err)
	}
	a.loaded = loaded
	c := loaded.Config()
	a.settings = settings{
		noDeclare:        !c.Broker.Declare,
		names:            topology.Names{Namespace: c.Broker.Namespace, Layout: topology.Layout(c.Broker.Layout)},
		requestQueueType: topology.QueueType(c.Broker.RequestQueueType), connectTimeout: cmp.Or(c.Broker.ConnectTimeout, 24*time.Hour),
		heartbeat: c.Broker.Heartbeat, maxBackoff: c.Broker.MaxBackoff, maxInFlight: c.Client.MaxInFlight, maxBody: c.Client.MaxBody, replyQueue: c.Client.ReplyQueue,
		managementURL: c.Broker.ManagementURL, managementUnused: c.Broker.ManagementUnused, revealSecrets: c.CLI.RevealSecrets,
	}
	access, err := c.Broker.Access()
	if err != nil {
		return usage("", "%w", err)
	}
	if err := a.settings.logLevel.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return usage("", "log.level: %w", err)
	}
	a.settings.access = func() ([]string, *tls.Config) { return access.Current(a.Logger()) }
	a.settings.urls, a.settings.tls = a.settings.access()
	return nil
}

// managementTimeout bounds a request: a person waits, and the management API is optional.
const managementTimeout = 15 * time.Second

// management returns a client of the broker's management API, and warns if the password is less safe there than over
// AMQP.
func (a *App) management() (*management.Client, error) {
	if a.settings.managementUnused != "" {
		a.Warn("%s", a.settings.managementUnused)
		a.settings.managementUnused = "" // once
	}
	client, err := management.New(a.settings.managementConfig())
	if err != nil {
		return nil, fmt.Errorf("broker.management_url: %w", err)
	}
	a.WarnOfClearText(client)
	return client, nil
}

// WarnOfClearText warns if the password goes to the management API unencrypted, though the broker's own URL is
// encrypted.
func (a *App) WarnOfClearText(api *management.Client) {
	if w := api.Warning(); w != "" {
		a.Warn("%s; set broker.management_url to an https address", w)
	}
}

func (s settings) managementConfig() management.Config {
	return management.Config{URL: s.managementURL, Access: s.access, Timeout: managementTimeout}
}

// login returns the user and the password for the configured broker.
func (s settings) login() (user, password string) {
	if len(s.urls) == 0 {
		return "", ""
	}
	u, err := url.Parse(s.urls[0])
	if err != nil || u.User == nil {
		return "", ""
	}
	password, _ = u.User.Password()
	return u.User.Username(), password
}

// vhost returns the virtual host of the configured broker.
func (s settings) vhost() string {
	if len(s.urls) == 0 {
		return "/"
	}
	u, err := url.Parse(s.urls[0])
	if err != nil || len(u.Path) <= 1 {
		return "/"
	}
	return u.Path[1:]
}
