package service

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// settings is the configuration as the parts of a program take it. This file is the one place where a key becomes a field
// of something else.
type settings struct {
	conn           leveret.ConnConfig // without what is made at run time: logger, telemetry
	client         leveret.ClientConfig
	handlers       leveret.HandlersConfig
	worker         leveret.WorkerConfig
	connectTimeout time.Duration // 0 is for ever
	logLevel       slog.Level
	logFormat      string
	otlpEndpoint   string
	health         string
	dataDir        string
	databasePath   string
}

func (p Program) settings(loaded *config.Loaded) (settings, error) {
	c := loaded.Config()
	tls, err := c.Broker.TLS.ClientConfig()
	if err != nil {
		return settings{}, err
	}
	s := settings{
		conn: leveret.ConnConfig{
			URLs:             c.Broker.Addresses(),
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
			Stacks:       unlessSet(p, loaded, "worker.stacks", p.Worker.Stacks, c.Worker.Stacks),
			OnReady:      p.Worker.OnReady,
		},
		connectTimeout: c.Broker.ConnectTimeout,
		logFormat:      c.Log.Format,
		otlpEndpoint:   c.Telemetry.OTLPEndpoint,
		health:         c.Health.Address,
		dataDir:        c.DataDir(),
		databasePath:   c.DatabasePath(p.Service.Name()),
	}
	if err := s.logLevel.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return settings{}, fmt.Errorf("log.level: %w", err)
	}
	return s, nil
}

// unlessSet returns the program's own value for a key that nothing sets, if it has one, and else the configured one.
func unlessSet[T comparable](p Program, loaded *config.Loaded, key string, own, configured T) T {
	v, _ := loaded.Value(key)
	if _, set := p.Defaults[key]; set || v.Origin.Source != config.FromDefault {
		return configured
	}
	return cmp.Or(own, configured)
}

// instance tells this life of a program apart from all others. Host and process id do not: several programs may live in one
// process, and in containers every process is the first.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return host[:min(len(host), 100)] + "/" + strconv.Itoa(os.Getpid()) + "-" + strings.ToLower(rand.Text()[:4])
}
