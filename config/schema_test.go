package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

// parse returns the flags of a command line.
func parse(t *testing.T, s *config.Schema, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s.AddFlags(fs)
	require.NoError(t, fs.Parse(args))
	return fs
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leveret.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// sample returns valid values for a key, different from each other and from the default.
func sample(t *testing.T, k config.Key) (inFile, inEnv, inFlag string) {
	t.Helper()
	switch k.Name {
	case "health.address", "http.address", "grpc.address":
		return "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"
	case "database.url":
		return "sqlite:/file.db", "sqlite:/env.db", "sqlite:/flag.db"
	case "broker.request_queue_type":
		return "quorum", "classic", "quorum"
	case "broker.layout":
		return "isolated", "shared", "isolated"
	case "log.level":
		return "debug", "warn", "error"
	case "log.format":
		return "json", "text", "json"
	case "broker.url":
		return "amqps://file/", "amqps://env/", "amqps://flag/"
	}
	if k.Name == "http.tls" || k.Name == "grpc.tls" {
		return "mutual", "off", "server"
	}
	if k.Name == "http.max_header_bytes" {
		return "5001", "5002", "5003"
	}
	switch k.Type {
	case config.Int:
		return "101", "102", "103"
	case config.Bool:
		return "true", "false", "true"
	case config.Duration:
		return "1m1s", "1m2s", "1m3s"
	case config.URL:
		return "http://file/", "http://env/", "http://flag/"
	case config.Strings:
		return "file", "env,e", "flag,f"
	default:
		return "file", "env", "flag"
	}
}

// yamlOf returns a file that sets one key.
func yamlOf(name, value string, quoted bool) string {
	var b strings.Builder
	words := strings.Split(name, ".")
	for i, word := range words {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", i), word)
		if i < len(words)-1 {
			b.WriteByte('\n')
		}
	}
	if quoted {
		value = `"` + value + `"`
	}
	return b.String() + " " + value + "\n"
}

// raw formats the value of a key of any type.
func raw(t *testing.T, l *config.Loaded, name string) string {
	t.Helper()
	v, ok := l.Value(name)
	require.True(t, ok)
	if list, ok := v.Any().([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(v.Any())
}

func own() []config.Key {
	return []config.Key{
		{Name: "payment.decline_above", Type: config.Int, Usage: "decline cards over this amount"},
		{Name: "payment.networks", Type: config.Strings, Default: "visa,amex", Usage: "cards that are taken"},
		{Name: "payment.api_key", Type: config.String, Secret: true, Usage: "what the network knows us by", Env: "PAYMENT_API_KEY"},
	}
}

// Every key, including the program's own, follows the precedence flag > variable > file > default, and reports where
// its value came from.
func TestEverySourceOfEveryKey(t *testing.T) {
	s := config.New(own()...)
	require.NoError(t, s.Err())
	for _, k := range s.Keys() {
		t.Run(k.Name, func(t *testing.T) {
			inFile, inEnv, inFlag := sample(t, k)
			options := config.Options{}
			if strings.HasPrefix(k.Name, "broker.tls.") { // is refused without
				options.Defaults = map[string]string{"broker.url": "amqps://localhost/"}
				switch k.Name {
				case "broker.tls.cert_file":
					options.Defaults["broker.tls.cert_file"], options.Defaults["broker.tls.key_file"] = "cert", "key"
				case "broker.tls.key_file":
					options.Defaults["broker.tls.cert_file"], options.Defaults["broker.tls.key_file"] = "cert", "key"
				}
			}
			if strings.HasPrefix(k.Name, "tls.") && k.Name != "tls.ca_file" { // one is refused without the other
				options.Defaults = map[string]string{"tls.cert_file": "cert", "tls.key_file": "key"}
			}
			if strings.HasSuffix(k.Name, "password_file") || strings.HasSuffix(k.Name, "api_key_file") { // is read
				dir := t.TempDir()
				for _, p := range []*string{&inFile, &inEnv, &inFlag} {
					*p = filepath.Join(dir, *p)
					require.NoError(t, os.WriteFile(*p, []byte("secret\n"), 0o600))
				}
			}
			check := func(fs *pflag.FlagSet, want string, source config.Source, where string) {
				t.Helper()
				l, err := s.Load(fs, options)
				require.NoError(t, err)
				if source != config.FromDefault {
					require.Equal(t, want, raw(t, l, k.Name))
				}
				v, _ := l.Value(k.Name)
				require.Equal(t, config.Origin{Source: source, Where: where}, v.Origin)
			}
			check(parse(t, s), "", config.FromDefault, "default")

			path := write(t, yamlOf(k.Name, inFile, k.Type == config.String))
			line := fmt.Sprintf("%s:%d", path, strings.Count(k.Name, ".")+1)
			check(parse(t, s, "--config", path), inFile, config.FromFile, line)
			t.Setenv("LEVERET_CONFIG", path)
			check(nil, inFile, config.FromFile, line)

			t.Setenv(k.EnvName(), "")
			check(nil, inFile, config.FromFile, line)
			t.Setenv(k.EnvName(), inEnv)
			check(parse(t, s), inEnv, config.FromEnv, k.EnvName())

			if k.Secret || k.NoFlag {
				require.Empty(t, k.FlagName())
				require.Nil(t, parse(t, s).Lookup(strings.NewReplacer(".", "-", "_", "-").Replace(k.Name)))
			} else {
				check(parse(t, s, "--"+k.FlagName()+"="+inFlag), inFlag, config.FromFlag, "--"+k.FlagName())
			}

			if !k.Secret && !k.NoFlag {
				options.Overrides = map[string]string{k.Name: inFile}
				check(parse(t, s, "--"+k.FlagName()+"="+inFlag), inFile, config.FromProgram, "the program")
			}
		})
	}
}

func TestConfigIsTyped(t *testing.T) {
	t.Parallel()
	s := config.New()
	l, err := s.Load(parse(t, s,
		"--broker-url=amqp://a/, amqp://b/v", "--broker-tls-insecure=false", "--worker-handler-timeout=1m30s",
		"--client-reply-queue", "--worker-concurrency=3", "--health-address=:0",
	), config.Options{Defaults: map[string]string{"worker.prefetch": "7", "worker.concurrency": "8"}})
	require.NoError(t, err)
	c := l.Config()
	require.Equal(t, []string{"amqp://a/", "amqp://b/v"}, c.Broker.URLs)
	require.Equal(t, 90*time.Second, c.Worker.HandlerTimeout)
	require.Equal(t, 30*time.Second, c.Worker.DrainTimeout)
	require.Equal(t, 3, c.Worker.Concurrency)
	require.Equal(t, 7, c.Worker.Prefetch)
	require.True(t, c.Client.ReplyQueue)
	require.True(t, c.Broker.Declare)
	require.Equal(t, ":0", c.Health.Address)
	_, err = s.Load(nil, config.Options{Overrides: map[string]string{"worker.prefetch": "7"}})
	require.ErrorContains(t, err, "worker.prefetch: 7 is less than worker.concurrency, which is 16")
	tls, err := c.Broker.TLS.ClientConfig()
	require.NoError(t, err)
	require.Nil(t, tls)
}

func TestAllInvalidValuesAreReported(t *testing.T) {
	s := config.New(own()...)
	path := write(t, `
broker:
  url: amqp://shop:hunter2@rabbit/
  conect_timeout: 5s
  password: 0777123777
worker:
  concurrency: many
  drain_timeout: 5
logs:
  level: debug
log: debug
payment:
  decline_above: [1, 2]
broker.namespace: x
`)
	t.Setenv("LEVERET_LOG_LEVEL", "loud")
	_, err := s.Load(parse(t, s, "--config", path, "--worker-prefetch=-1", "--client-max-body=much", "--client-max-in-flight=99999999999999999999", "--broker-url=amqp://u@localhost:99999/", "--worker-stacks=maybe", "--broker-management-url=ftp://u:hunter2@x/"), config.Options{})
	require.Error(t, err)
	for _, want := range []string{
		path + ":4: the key broker.conect_timeout is unknown; did you mean broker.connect_timeout?",
		path + ":5: broker.password is a string, but YAML reads this value as another type; put it in quotes",
		`worker.concurrency: "many" is not a whole number (set by ` + path + ":7)",
		`worker.drain_timeout: "5" is not a duration such as 500ms, 5s or 1m30s (set by ` + path + ":8)",
		path + ":9: the key logs is unknown; did you mean log?",
		path + ":11: log is a section, not a value",
		"payment.decline_above: it must be a single value (int), not a list or a section (set by " + path + ":13)",
		path + ":14: the key broker.namespace contains a dot; write it as a section and a name",
		`log.level: "loud" is not one of debug, info, warn, error (set by LEVERET_LOG_LEVEL)`,
		"worker.prefetch: -1 is not between 0 and 65535 (set by --worker-prefetch)",
		`client.max_in_flight: "99999999999999999999" is out of range (set by --client-max-in-flight)`,
		`broker.url: "amqp://u@localhost:99999/" has a port out of range (1-65535) (set by --broker-url)`,
		`client.max_body: "much" is not a whole number (set by --client-max-body)`,
		`worker.stacks: "maybe" is neither true nor false (set by --worker-stacks)`,
		`broker.management_url: "ftp://u:xxxxx@x/" must begin with http:// or https:// (set by --broker-management-url)`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, strings.ReplaceAll(err.Error(), path, ""), "777")
	var one *config.Error
	require.ErrorAs(t, err, &one)
}

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ content, want string }{
		"not yaml":    {"broker: [hunter2", "it is not YAML"},
		"tab":         {"broker:\n\turl: hunter2", "it is not YAML"},
		"a list":      {"- hunter2", "it must consist of sections"},
		"a word":      {"hunter2", "it must consist of sections"},
		"twice":       {"log:\n  level: info\n  level: debug", ":3: duplicate key log.level"},
		"upper case":  {"Broker:\n  url: hunter2", "the key Broker is unknown; did you mean broker?"},
		"two":         {"log:\n  level: info\n---\nbroker:\n  url: hunter2", "line 4: a second YAML document begins here"},
		"two, broken": {"log:\n  level: info\n...\nbroker: [hunter2", "it is not YAML"},
		"list of map": {"broker:\n  url:\n    - a: hunter2", "not a list or a section"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.New().Load(nil, config.Options{File: write(t, c.content)})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	for name, content := range map[string]string{"empty": "", "comment": "# nothing", "null section": "broker:\nlog: {}\n", "null": "broker:\n  url:\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := config.New().Load(nil, config.Options{File: write(t, content)})
			require.NoError(t, err)
			require.Equal(t, []string{"amqp://localhost:5672"}, l.Config().Broker.URLs)
		})
	}
}

// A file of nothing but faults has its first ones reported, and takes no longer than that.
func TestFaultsOfAFileAreCounted(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, "k%d: 1\n", i)
	}
	_, err := config.New().Load(nil, config.Options{File: write(t, many.String())})
	require.ErrorContains(t, err, ":100: the key k99 is unknown")
	require.NotContains(t, err.Error(), "k100 ")
}

func TestWhereTheFileIs(t *testing.T) {
	s := config.New()
	load := func(args ...string) *config.Loaded {
		l, err := s.Load(parse(t, s, args...), config.Options{})
		require.NoError(t, err)
		return l
	}
	t.Chdir(t.TempDir())
	home := t.TempDir()
	t.Setenv("HOME", home)
	require.Empty(t, load().File())

	put := func(path string) string {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("log:\n  level: debug\n"), 0o600))
		return path
	}
	inHome := put(filepath.Join(home, ".config", "leveret", "leveret.yaml"))
	require.Equal(t, inHome, load().File())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	require.Empty(t, load().File())
	inXDG := put(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "leveret", "leveret.yaml"))
	require.Equal(t, inXDG, load().File())
	require.Equal(t, put("leveret.yaml"), load().File())
	t.Setenv("LEVERET_CONFIG", inHome)
	require.Equal(t, inHome, load().File())
	require.Equal(t, inXDG, load("--config", inXDG).File())

	_, err := s.Load(parse(t, s, "--config", "nowhere.yaml"), config.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "named by --config")
	t.Setenv("LEVERET_CONFIG", "nowhere.yaml")
	_, err = s.Load(nil, config.Options{})
	require.ErrorContains(t, err, "named by LEVERET_CONFIG")
}

func TestSecrets(t *testing.T) {
	s := config.New(own()...)
	secret := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(secret, []byte("hunter2\r\n"), 0o600))

	t.Setenv("LEVERET_BROKER_PASSWORD_FILE", secret)
	t.Setenv("PAYMENT_API_KEY", "hunter3")
	t.Setenv("LEVERET_BROKER_URL", "amqp://shop@rabbit/v,amqps://o:hunter4@r/")
	l, err := s.Load(parse(t, s), config.Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"amqp://shop:hunter2@rabbit/v", "amqps://o:hunter2@r/"}, l.Config().Broker.Addresses())
	var settings []byte
	settings, err = json.Marshal(l.Settings())
	require.NoError(t, err)
	require.NotContains(t, string(settings), "hunter")
	require.Contains(t, string(settings), `{"key":"broker.password","value":"******","source":"env","where":"`+secret+`"}`)
	require.Contains(t, string(settings), `{"key":"broker.url","value":"amqp://shop@rabbit/v,amqps://o:xxxxx@r/","source":"env","where":"LEVERET_BROKER_URL"}`)

	t.Run("both from one source", func(t *testing.T) {
		t.Setenv("LEVERET_BROKER_PASSWORD", "hunter4")
		_, err := s.Load(nil, config.Options{})
		require.ErrorContains(t, err, "broker.password_file: broker.password is set too, by LEVERET_BROKER_PASSWORD")
		require.NotContains(t, err.Error(), "hunter")
	})
	t.Run("the stronger source", func(t *testing.T) {
		l, err := s.Load(nil, config.Options{File: write(t, "broker:\n  password: hunter5\n")})
		require.NoError(t, err)
		require.Equal(t, "hunter2", l.Config().Broker.Password)
		t.Setenv("LEVERET_BROKER_PASSWORD", "hunter4")
		t.Setenv("LEVERET_BROKER_PASSWORD_FILE", "")
		l, err = s.Load(nil, config.Options{File: write(t, "broker:\n  password_file: "+secret+"\n")})
		require.NoError(t, err)
		require.Equal(t, "hunter4", l.Config().Broker.Password)
	})
	t.Run("empty", func(t *testing.T) {
		require.NoError(t, os.WriteFile(secret, []byte("\n"), 0o600))
		_, err := s.Load(nil, config.Options{})
		require.ErrorContains(t, err, "is empty")
	})
	t.Run("gone", func(t *testing.T) {
		t.Setenv("LEVERET_BROKER_PASSWORD_FILE", "/nowhere")
		_, err := s.Load(nil, config.Options{})
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorContains(t, err, "LEVERET_BROKER_PASSWORD_FILE")
	})
}

func TestNoPasswordInAFlag(t *testing.T) {
	t.Parallel()
	s := config.New()
	_, err := s.Load(parse(t, s, "--broker-url", "amqp://shop:hunter2@rabbit/"), config.Options{})
	require.ErrorContains(t, err, "LEVERET_BROKER_PASSWORD_FILE")
	require.NotContains(t, err.Error(), "hunter2")
	_, err = s.Load(parse(t, s, "--broker-url", "amqp://guest:guest@rabbit/"), config.Options{})
	require.NoError(t, err)
}

func TestFlagsOfSomeSections(t *testing.T) {
	t.Parallel()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s := config.New()
	s.AddFlags(fs, "broker", "log")
	require.NotNil(t, fs.Lookup("broker-url"))
	require.NotNil(t, fs.Lookup("broker-tls-ca-file"))
	require.Nil(t, fs.Lookup("worker-prefetch"))
	require.Nil(t, fs.Lookup("broker-password"))
	s.AddFlags(fs) // what is there stays
	require.NotNil(t, fs.Lookup("worker-prefetch"))
	require.NotContains(t, fs.FlagUsages(), "default false")
}

func TestWrongTables(t *testing.T) {
	t.Parallel()
	key := func(name string) config.Key { return config.Key{Name: name, Type: config.String, Usage: "u"} }
	for want, keys := range map[string][]config.Key{
		"must be named like section.name":      {key("payment")},
		"two keys are named broker.url":        {key("broker.url")},
		"one is the section of the other":      {key("broker.url.x")},
		"has no type":                          {{Name: "a.b", Usage: "u"}},
		"a secret, so its type must be String": {{Name: "a.b", Usage: "u", Type: config.Int, Secret: true}},
		"cannot have a default":                {{Name: "a.b", Usage: "u", Type: config.String, Secret: true, Default: "x"}},
		"has no usage text":                    {{Name: "a.b", Type: config.String}},
		"invalid default":                      {{Name: "a.b", Usage: "u", Type: config.Int, Default: "x"}},
		"share the flag --a-b-c":               {key("a.b_c"), {Name: "a_b.c", Usage: "u", Type: config.String, Env: "OTHER"}},
		"share the variable LEVERET_LOG_LEVEL": {{Name: "a.b", Usage: "u", Type: config.String, Env: "LEVERET_LOG_LEVEL"}},
	} {
		s := config.New(keys...)
		require.ErrorContains(t, s.Err(), want)
		_, err := s.Load(nil, config.Options{})
		require.ErrorContains(t, err, want)
	}
	_, err := config.New().Load(nil, config.Options{Defaults: map[string]string{"log.lvel": "x"}})
	require.ErrorContains(t, err, "did you mean log.level?")
	_, err = config.New().Load(nil, config.Options{Overrides: map[string]string{"nothing": "x"}})
	require.ErrorContains(t, err, "the key nothing is unknown")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{"broker.tls.insecure": "true"}})
	require.ErrorContains(t, err, "is not encrypted")
	_, err = config.New().Load(nil, config.Options{Overrides: map[string]string{"broker.url": "amqps://x/", "broker.tls.cert_file": "c"}})
	require.ErrorContains(t, err, "set both or neither")

	l, err := config.New().Load(nil, config.Options{Overrides: map[string]string{"broker.url": "amqps://x/", "broker.tls.server_name": "rabbit"}})
	require.NoError(t, err)
	c, err := l.Config().Broker.TLS.ClientConfig()
	require.NoError(t, err)
	require.Equal(t, "rabbit", c.ServerName)
	_, err = config.TLS{CAFile: write(t, "no pem")}.ClientConfig()
	require.ErrorContains(t, err, "contains no PEM certificate")
}

func TestServersAndTheirTLS(t *testing.T) {
	t.Parallel()
	load := func(settings map[string]string) (config.Config, error) {
		l, err := config.New().Load(nil, config.Options{Overrides: settings})
		if err != nil {
			return config.Config{}, err
		}
		return l.Config(), nil
	}
	for want, settings := range map[string]map[string]string{
		"tls.cert_file and tls.key_file: set both or neither":                {"tls.cert_file": "c"},
		"http.tls: server needs tls.cert_file and tls.key_file":              {"http.address": ":0", "http.tls": "server"},
		"grpc.tls: mutual needs tls.cert_file and tls.key_file":              {"grpc.address": ":0", "grpc.tls": "mutual"},
		"tls.ca_file: is required for mutual TLS; or set grpc.tls to server": {"grpc.address": ":0", "tls.cert_file": "c", "tls.key_file": "k"},
		`http.tls: "maybe" is not one of auto, off, server, mutual`:          {"http.tls": "maybe"},
		`grpc.address: "8080" is not host:port, :port or off`:                {"grpc.address": "8080"},
		`broker.reply_to: "a*b" must be the name of a queue`:                 {"broker.reply_to": "fine.*, a*b"},
		"http.max_connections: 0 is not between 1 and 1000000":               {"http.max_connections": "0"},
		`health.drain_delay: "-1s" is negative`:                              {"health.drain_delay": "-1s"},
	} {
		_, err := load(settings)
		require.ErrorContains(t, err, want)
	}
	c, err := load(map[string]string{"tls.cert_file": "c", "tls.key_file": "k"}) // to call others with
	require.NoError(t, err)
	require.Equal(t, config.TLSMutual, c.HTTP.TLS.With(c.TLS))
	c, err = load(map[string]string{"http.address": ":0", "http.tls": "off", "tls.cert_file": "c", "tls.key_file": "k"})
	require.NoError(t, err)
	require.Equal(t, config.TLSOff, c.HTTP.TLS.With(c.TLS))
	c, err = load(nil)
	require.NoError(t, err)
	require.Equal(t, config.TLSOff, c.HTTP.TLS.With(c.TLS))
	require.Equal(t, config.Off, c.HTTP.Address)
}

func TestExampleFile(t *testing.T) {
	t.Parallel()
	l, err := config.New().Load(nil, config.Options{File: "leveret.example.yaml"})
	require.NoError(t, err)
	defaults, err := config.New().Load(nil, config.Options{})
	require.NoError(t, err)
	for _, s := range l.Settings() {
		require.Equal(t, config.FromFile, s.Source, "the example has no %s", s.Key)
	}
	require.Equal(t, defaults.Config(), l.Config(), "the example shows other defaults")
}
