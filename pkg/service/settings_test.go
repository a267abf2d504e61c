package service

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// mapped holds, for a key, a value that is not the default, and the change it makes to settings. The change is nil if a
// service does not use the key.
type mapped struct {
	value  string
	change func(*settings)
}

// Every key is mapped to its place in settings, whatever its source. A new key has to be added here.
func TestEveryKeyTakesEffect(t *testing.T) {
	authority, password := authorityFile(t), filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("hunter2\n"), 0o600))
	wants := map[string]mapped{
		"broker.url":                {"amqp://a/,amqp://b/v", func(s *settings) { s.conn.URLs = []string{"amqp://a/", "amqp://b/v"} }},
		"broker.username":           {"shop", func(s *settings) { s.conn.URLs = []string{"amqps://shop@rabbit/"} }},
		"broker.password":           {"hunter2", func(s *settings) { s.conn.URLs = []string{"amqps://guest:hunter2@rabbit/"} }},
		"broker.password_file":      {password, func(s *settings) { s.conn.URLs = []string{"amqps://guest:hunter2@rabbit/"} }},
		"broker.namespace":          {"stage", func(s *settings) { s.conn.Namespace = "stage" }},
		"broker.layout":             {"isolated", func(s *settings) { s.conn.Layout = topology.Isolated }},
		"broker.declare":            {"false", func(s *settings) { s.conn.NoDeclare = true }},
		"broker.request_queue_type": {"quorum", func(s *settings) { s.conn.RequestQueueType = "quorum" }},
		"broker.connect_timeout":    {"7s", func(s *settings) { s.connectTimeout = 7 * time.Second }},
		"broker.heartbeat":          {"7s", func(s *settings) { s.conn.Heartbeat = 7 * time.Second }},
		"broker.max_backoff":        {"7s", func(s *settings) { s.conn.MaxBackoff = 7 * time.Second }},
		"broker.consumer_timeout":   {"7m", func(s *settings) { s.conn.ConsumerTimeout = 7 * time.Minute }},
		"broker.management_url":     {"http://x:1/", nil}, // services do not need it
		"broker.tls.ca_file":        {authority, func(s *settings) { s.conn.TLS = &tls.Config{} }},
		"broker.tls.server_name":    {"rabbit", func(s *settings) { s.conn.TLS = &tls.Config{ServerName: "rabbit"} }},
		"broker.tls.insecure":       {"true", func(s *settings) { s.conn.TLS = &tls.Config{InsecureSkipVerify: true} }}, //nolint:gosec // connects to nothing
		"broker.tls.cert_file":      {"", nil},                                                                          // comes with its key: config's tests
		"broker.tls.key_file":       {"", nil},
		"client.max_in_flight":      {"7", func(s *settings) { s.client.MaxInFlight = 7 }},
		"client.max_body":           {"7", func(s *settings) { s.client.MaxBody = 7 }},
		"client.reply_queue":        {"true", func(s *settings) { s.client.ReplyQueue = true }},
		"worker.concurrency":        {"7", func(s *settings) { s.worker.Concurrency = 7 }},
		"worker.prefetch":           {"77", func(s *settings) { s.worker.Prefetch = 77 }},
		"worker.handler_timeout":    {"7s", func(s *settings) { s.handlers.HandlerTimeout = 7 * time.Second }},
		"worker.stuck_after":        {"7s", func(s *settings) { s.worker.StuckAfter = 7 * time.Second }},
		"worker.drain_timeout":      {"7s", func(s *settings) { s.worker.DrainTimeout = 7 * time.Second }},
		"worker.no_quarantine":      {"true", func(s *settings) { s.worker.NoQuarantine = true }},
		"broker.reply_to":           {"answers.*,old", func(s *settings) { s.worker.ReplyTo = []string{"answers.*", "old"} }},
		"worker.stacks":             {"true", func(s *settings) { s.worker.Stacks = true }},
		"log.level":                 {"debug", func(s *settings) { s.logLevel = slog.LevelDebug }},
		"log.format":                {"text", func(s *settings) { s.logFormat = "text" }},
		"telemetry.otlp_endpoint":   {"http://collector:4318", func(s *settings) { s.otlpEndpoint = "http://collector:4318" }},
		"cli.reveal_secrets":        {"true", nil}, // services show no payloads
		"health.address":            {"127.0.0.1:7", func(s *settings) { s.health = "127.0.0.1:7" }},
		"health.drain_delay":        {"7s", func(s *settings) { s.drainDelay = 7 * time.Second }},
		"http.address":              {"127.0.0.1:7", func(s *settings) { s.http.Address = "127.0.0.1:7" }},
		"http.tls":                  {"server", func(s *settings) { s.http.TLS = config.TLSServer }},
		"http.max_connections":      {"7", func(s *settings) { s.http.MaxConnections = 7 }},
		"http.max_header_bytes":     {"7777", func(s *settings) { s.http.MaxHeaderBytes = 7777 }},
		"http.read_header_timeout":  {"7s", func(s *settings) { s.http.ReadHeaderTimeout = 7 * time.Second }},
		"http.read_timeout":         {"7s", func(s *settings) { s.http.ReadTimeout = 7 * time.Second }},
		"http.idle_timeout":         {"7s", func(s *settings) { s.http.IdleTimeout = 7 * time.Second }},
		"grpc.address":              {"127.0.0.1:7", func(s *settings) { s.grpc.Address = "127.0.0.1:7" }},
		"grpc.tls":                  {"server", func(s *settings) { s.grpc.TLS = config.TLSServer }},
		"grpc.max_connections":      {"7", func(s *settings) { s.grpc.MaxConnections = 7 }},
		"tls.ca_file":               {authority, func(s *settings) { s.tls.CAFile = authority }},
		"tls.cert_file":             {"", nil}, // comes with its key, as above
		"tls.key_file":              {"", nil},
		"data.dir": {"/srv", func(s *settings) {
			s.dataDir, s.databaseSource = "/srv", "/srv/unit.db"
		}},
		"database.url":           {"sqlite:/srv/x.db", func(s *settings) { s.databaseSource = "/srv/x.db" }},
		"database.password":      {"", nil}, // is for PostgreSQL: see TestDatabaseOnServer
		"database.password_file": {"", nil},
	}
	p := Program{Name: "unitd", Version: "1.2.3", Service: leveret.NewService("unit"), Defaults: map[string]string{"broker.url": "amqps://rabbit/"}}
	t.Setenv("LEVERET_BROKER_URL", "") // remove the developer's own setting; empty means unset
	schema := p.schema()
	read := func(t *testing.T, args ...string) settings {
		t.Helper()
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		schema.AddFlags(flags)
		require.NoError(t, flags.Parse(args))
		loaded, err := schema.Load(flags, config.Options{Defaults: p.Defaults})
		require.NoError(t, err)
		s, err := p.settings(loaded)
		require.NoError(t, err)
		s.conn.Instance, s.access = "", nil // what access returns is in s.conn, too
		return s
	}
	for _, k := range schema.Keys() {
		t.Run(k.Name, func(t *testing.T) {
			want, ok := wants[k.Name]
			require.True(t, ok, "the key %s is mapped to nothing", k.Name)
			if want.change == nil {
				return
			}
			plain, expected := read(t), read(t)
			want.change(&expected)
			check := func(source string, got settings) {
				t.Helper()
				if strings.HasPrefix(k.Name, "broker.tls.") { // it contains pools and functions, so compare what matters
					require.NotNil(t, got.conn.TLS, source)
					require.Equal(t, expected.conn.TLS.ServerName, got.conn.TLS.ServerName, source)
					require.Equal(t, expected.conn.TLS.InsecureSkipVerify, got.conn.TLS.InsecureSkipVerify, source)
					require.Equal(t, k.Name == "broker.tls.ca_file", got.conn.TLS.RootCAs != nil, source)
					return
				}
				require.Equal(t, expected, got, source)
				require.NotEqual(t, plain, got, source)
			}
			path := filepath.Join(t.TempDir(), "leveret.yaml")
			require.NoError(t, os.WriteFile(path, []byte(inFile(k, want.value)), 0o600))
			check("file", read(t, "--config", path))
			if k.FlagName() != "" {
				check("flag", read(t, "--"+k.FlagName()+"="+want.value))
			}
			t.Setenv(k.EnvName(), want.value)
			check("variable", read(t))
		})
	}
}

// inFile returns a file that sets a key.
func inFile(k config.Key, value string) string {
	if k.Type == config.String {
		value = fmt.Sprintf("%q", value)
	}
	words := strings.Split(k.Name, ".")
	text := ""
	for i, word := range words {
		text += strings.Repeat("  ", i) + word + ":\n"
	}
	return strings.TrimSuffix(text, "\n") + " " + value + "\n"
}

// authorityFile returns a file with the certificate of some authority.
func authorityFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, certificate(t), 0o600))
	return path
}

// The program's own values apply unless the configuration sets them.
func TestTheProgramsOwnSettings(t *testing.T) {
	t.Parallel()
	p := Program{
		Service:  leveret.NewService("unit"),
		Client:   leveret.ClientConfig{MaxBody: 5, ReplyQueue: true, MaxInFlight: 6},
		Worker:   leveret.WorkerConfig{Concurrency: 5, Prefetch: 50, Stacks: true},
		Handlers: leveret.HandlersConfig{HandlerTimeout: time.Second},
	}
	read := func(o config.Options) settings {
		loaded, err := p.schema().Load(nil, o)
		require.NoError(t, err)
		s, err := p.settings(loaded)
		require.NoError(t, err)
		return s
	}
	s := read(config.Options{})
	require.Equal(t, leveret.ClientConfig{MaxBody: 5, ReplyQueue: true, MaxInFlight: 6}, s.client)
	require.Equal(t, leveret.WorkerConfig{
		Concurrency: 5, Prefetch: 50, StuckAfter: 30 * time.Second, DrainTimeout: 30 * time.Second, Stacks: true,
	}, s.worker)
	require.Equal(t, leveret.HandlersConfig{HandlerTimeout: time.Second}, s.handlers)
	s = read(config.Options{Overrides: map[string]string{
		"client.max_body": "16777216", "client.reply_queue": "false", "worker.concurrency": "3", "worker.stacks": "no",
	}})
	require.Equal(t, leveret.ClientConfig{MaxBody: 16777216, MaxInFlight: 6}, s.client)
	require.Equal(t, 3, s.worker.Concurrency)
	require.Equal(t, 50, s.worker.Prefetch)
	require.False(t, s.worker.Stacks)
	p.Defaults = map[string]string{"worker.concurrency": "4"}
	require.Equal(t, 4, read(config.Options{Defaults: p.Defaults}).worker.Concurrency)
}

func TestInstancesAreApart(t *testing.T) {
	t.Parallel()
	one, other := instance(), instance()
	require.NotEqual(t, one, other)
	require.LessOrEqual(t, len(one), 127)
}

func TestOtherKeys(t *testing.T) {
	t.Parallel()
	own := config.Key{Name: "unit.own", Type: config.Int, Usage: "u"}
	other := config.Key{Name: "other.key", Type: config.Int, Usage: "u"}
	p := Program{Service: leveret.NewService("unit"), Keys: []config.Key{own}, OtherKeys: []config.Key{own, other}}
	require.NoError(t, p.schema().Err())
	flags := p.Command().PersistentFlags()
	require.NotNil(t, flags.Lookup("unit-own"))
	require.NotNil(t, flags.Lookup("broker-tls-ca-file"))
	require.Nil(t, flags.Lookup("other-key"))
	_, err := p.schema().Load(flags, config.Options{File: writeFile(t, "other:\n  key: 7\nunit:\n  own: 8\n")})
	require.NoError(t, err)
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leveret.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}
