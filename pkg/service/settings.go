package service

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// settings is the configuration in the form that the parts of a program need. Keys are mapped to the fields of other
// packages only in this file.
type settings struct {
	conn           leveret.ConnConfig // without the logger and telemetry, which are created later
	access         *config.Access
	client         leveret.ClientConfig
	handlers       leveret.HandlersConfig
	worker         leveret.WorkerConfig
	connectTimeout time.Duration // 0 means forever
	logLevel       slog.Level
	logFormat      string
	otlpEndpoint   string
	health         string
	drainDelay     time.Duration
	http           config.HTTP
	grpc           config.GRPC
	tls            config.Identity
	dataDir        string
	databaseSource string
}

func (p Program) settings(loaded *config.Loaded) (settings, error) {
	c := loaded.Config()
	access, err := c.Broker.Access()
	if err != nil {
		return settings{}, err
	}
	urls, tls := access.Current(slog.New(slog.DiscardHandler))
	s := settings{
		conn: leveret.ConnConfig{
			URLs:             urls,
			TLS:              tls,
			Name:             p.Name,
			Instance:         instance(),
			Version:          p.Version,
			Namespace:        c.Broker.Namespace,
			Layout:           topology.Layout(c.Broker.Layout),
			NoDeclare:        !c.Broker.Declare,
			RequestQueueType: topology.QueueType(c.Broker.RequestQueueType),
			Heartbeat:        c.Broker.Heartbeat,
			MaxBackoff:       c.Broker.MaxBackoff,
			ConsumerTimeout:  c.Broker.ConsumerTimeout,
		},
		client: leveret.ClientConfig{
			Middleware:  p.Client.Middleware,
			MaxInFlight: unlessSet(p, loaded, "client.max_in_flight", p.Client.MaxInFlight, c.Client.MaxInFlight),
			MaxBody:     unlessSet(p, loaded, "client.max_body", p.Client.MaxBody, c.Client.MaxBody),
			ReplyQueue:  unlessSet(p, loaded, "client.reply_queue", p.Client.ReplyQueue, c.Client.ReplyQueue),
		},
		handlers: leveret.HandlersConfig{
			Middleware:     p.Handlers.Middleware,
			HandlerTimeout: unlessSet(p, loaded, "worker.handler_timeout", p.Handlers.HandlerTimeout, c.Worker.HandlerTimeout),
			OnOutcome:      p.Handlers.OnOutcome,
		},
		worker: leveret.WorkerConfig{
			Concurrency:  unlessSet(p, loaded, "worker.concurrency", p.Worker.Concurrency, c.Worker.Concurrency),
			Prefetch:     unlessSet(p, loaded, "worker.prefetch", p.Worker.Prefetch, c.Worker.Prefetch),
			StuckAfter:   unlessSet(p, loaded, "worker.stuck_after", p.Worker.StuckAfter, c.Worker.StuckAfter),
			DrainTimeout: unlessSet(p, loaded, "worker.drain_timeout", p.Worker.DrainTimeout, c.Worker.DrainTimeout),
			NoQuarantine: unlessSet(p, loaded, "worker.no_quarantine", p.Worker.NoQuarantine, c.Worker.NoQuarantine),
			Stacks:       unlessSet(p, loaded, "worker.stacks", p.Worker.Stacks, c.Worker.Stacks),
			ReplyTo:      slices.Concat(p.Worker.ReplyTo, c.Broker.ReplyTo),
			OnReady:      p.Worker.OnReady,
		},
		access:         access,
		connectTimeout: c.Broker.ConnectTimeout,
		logFormat:      c.Log.Format,
		otlpEndpoint:   c.Telemetry.OTLPEndpoint,
		health:         c.Health.Address,
		drainDelay:     c.Health.DrainDelay,
		http:           c.HTTP,
		grpc:           c.GRPC,
		tls:            c.TLS,
		dataDir:        c.DataDir(),
	}
	s.databaseSource = c.DatabaseSource(p.Service.Name(), p.Name+"/"+s.conn.Instance)
	if err := s.logLevel.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return settings{}, fmt.Errorf("log.level: %w", err)
	}
	return s, nil
}

// serves reports whether the program has an address to serve over HTTP or gRPC.
func (s settings) serves() bool { return s.http.Address != config.Off || s.grpc.Address != config.Off }

// unlessSet returns the configured value of a key or, if no source sets the key, the program's own value if it has one.
func unlessSet[T comparable](p Program, loaded *config.Loaded, key string, own, configured T) T {
	v, _ := loaded.Value(key)
	if _, set := p.Defaults[key]; set || v.Origin.Source != config.FromDefault {
		return configured
	}
	return cmp.Or(own, configured)
}

// instance identifies this run of a program in logs and telemetry. Host and process id alone would not be unique:
// several programs may run in one process, and in containers every process has the same id.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return host[:min(len(host), 100)] + "/" + strconv.Itoa(os.Getpid()) + "-" + strings.ToLower(rand.Text()[:4])
}
