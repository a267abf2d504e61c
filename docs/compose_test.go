package docs_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// TestComposeRunsThePrograms: docker-compose.yml runs every program, with an image from the Dockerfile, with settings that
// exist, with a certificate if it needs one, and with the time that it needs to shut down.
func TestComposeRunsThePrograms(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../docker-compose.yml")
	require.NoError(t, err)
	var file struct {
		Services map[string]struct {
			Build       struct{ Target string }
			Command     []string
			Environment map[string]string
			Grace       time.Duration `yaml:"stop_grace_period"`
			Volumes     []string
			Ports       []string
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	dockerfile, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	var variables []string
	for _, k := range slices.Concat(config.Keys(), programs.Keys()) {
		variables = append(variables, k.EnvName())
	}
	certified := strings.Split(file.Services["certs"].Command[len(file.Services["certs"].Command)-1], ",")

	for name, s := range file.Services {
		for _, port := range s.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "other machines reach %s of %s", port, name)
		}
	}

	for _, p := range programs.All() {
		name := p.Service.Name() + "d"
		s, there := file.Services[name]
		require.True(t, there, name)
		require.Equal(t, name, s.Build.Target)
		require.Contains(t, string(dockerfile), "\nFROM base AS "+name+"\n")
		require.Contains(t, s.Volumes, p.Service.Name()+":/data")
		require.Contains(t, s.Volumes, p.Service.Name()+"-password:/password:ro")
		require.Contains(t, file.Services["definitions"].Volumes, p.Service.Name()+"-password:/passwords/"+p.Service.Name())
		require.Equal(t, p.Service.Name(), s.Environment["LEVERET_BROKER_USERNAME"])
		require.Equal(t, "false", s.Environment["LEVERET_BROKER_DECLARE"])
		require.Equal(t, file.Services["definitions"].Environment["LEVERET_BROKER_LAYOUT"], s.Environment["LEVERET_BROKER_LAYOUT"])
		require.Len(t, slices.DeleteFunc(slices.Clone(s.Volumes), func(v string) bool { return !strings.Contains(v, "password") }), 1, "only its own")
		for variable := range s.Environment {
			require.Contains(t, variables, variable, name)
		}
		for key := range p.Defaults {
			if strings.HasSuffix(key, ".address") { // by default, only programs on the same machine reach it
				require.Contains(t, s.Environment, config.Key{Name: key}.EnvName(), name)
			}
		}
		drain, err := time.ParseDuration(s.Environment["LEVERET_WORKER_DRAIN_TIMEOUT"])
		require.NoError(t, err)
		require.Greater(t, s.Grace, 2*drain+15*time.Second, name)
		if cert, wanted := s.Environment["LEVERET_TLS_CERT_FILE"]; wanted {
			require.Equal(t, "/certs/"+name+".pem", cert)
			require.Equal(t, "/certs/"+name+"-key.pem", s.Environment["LEVERET_TLS_KEY_FILE"])
			require.Contains(t, certified, name)
		}
	}
}

// TestPostgresOverlay: docker-compose.postgres.yml gives every program the database, with settings that exist, once it is there.
func TestPostgresOverlay(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../docker-compose.postgres.yml")
	require.NoError(t, err)
	var file struct {
		Services map[string]struct {
			Depends     map[string]struct{ Condition string } `yaml:"depends_on"`
			Environment map[string]string
			Ports       []string
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	require.Len(t, file.Services, len(programs.All())+1)
	require.Empty(t, file.Services["postgres"].Ports)
	for _, p := range programs.All() {
		s := file.Services[p.Service.Name()+"d"]
		require.Equal(t, "service_healthy", s.Depends["postgres"].Condition, p.Service.Name())
		for variable, value := range s.Environment {
			i := slices.IndexFunc(config.Keys(), func(k config.Key) bool { return k.EnvName() == variable })
			require.GreaterOrEqual(t, i, 0, variable)
			_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{config.Keys()[i].Name: value}})
			require.NoError(t, err, variable)
		}
	}
}

// TestClusterOverlay: docker-compose.cluster.yml has three nodes that find each other, with queues that survive one of them,
// and every program knows and awaits all three.
func TestClusterOverlay(t *testing.T) {
	t.Parallel()
	type health struct{ Test []string }
	type service struct {
		Image, Hostname string
		Depends         map[string]struct{ Condition string } `yaml:"depends_on"`
		Environment     map[string]string
		Ports           []string
		Volumes         []string
		Healthcheck     health
		Grace           time.Duration `yaml:"stop_grace_period"`
	}
	var base, overlay struct{ Services map[string]service }
	for name, into := range map[string]any{"docker-compose.yml": &base, "docker-compose.cluster.yml": &overlay} {
		content, err := os.ReadFile("../" + name)
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(content, into))
	}
	nodes := []string{"rabbitmq", "rabbitmq-2", "rabbitmq-3"}
	conf := read(t, "config/rabbitmq-cluster.conf")
	first := base.Services[nodes[0]]
	var urls []string
	for _, node := range nodes {
		s := overlay.Services[node]
		require.Contains(t, conf, " = rabbit@"+node+"\n")
		require.Equal(t, "${LEVERET_RABBITMQ_COOKIE:-leveret}", s.Environment["RABBITMQ_ERLANG_COOKIE"], node)
		require.Contains(t, s.Volumes, "./config/rabbitmq-cluster.conf:/etc/rabbitmq/conf.d/30-cluster.conf:ro", node)
		require.GreaterOrEqual(t, s.Grace, time.Minute, node)
		urls = append(urls, "amqp://"+node+":5672")
		if node == nodes[0] { // the rest of it is that of docker-compose.yml
			continue
		}
		require.Equal(t, first.Image, s.Image)
		require.Equal(t, node, s.Hostname)
		require.Equal(t, first.Healthcheck, s.Healthcheck)
		require.Equal(t, first.Depends, s.Depends)
		require.Empty(t, s.Ports)
		for _, volume := range first.Volumes {
			if rest, own := strings.CutPrefix(volume, first.Hostname+":"); own {
				volume = node + ":" + rest
			}
			require.Contains(t, s.Volumes, volume)
		}
	}
	require.Contains(t, conf, "target_cluster_size_hint = 3\n")

	names := []string{"cli"}
	for _, p := range programs.All() {
		names = append(names, p.Service.Name()+"d")
	}
	require.Len(t, overlay.Services, len(nodes)+len(names)+1)
	for _, name := range append(names, "definitions") {
		s := overlay.Services[name]
		require.Equal(t, map[string]string{
			"LEVERET_BROKER_URL": strings.Join(urls, ","), "LEVERET_BROKER_REQUEST_QUEUE_TYPE": "quorum",
		}, s.Environment, name)
		for _, node := range nodes {
			if name != "definitions" { // which they wait for
				require.Equal(t, "service_healthy", s.Depends[node].Condition, name)
			}
		}
	}
	_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{
		"broker.url": overlay.Services["cli"].Environment["LEVERET_BROKER_URL"], "broker.request_queue_type": "quorum",
	}})
	require.NoError(t, err)
}
