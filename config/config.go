package config

import (
	"fmt"
	"time"
)

// Config is what every program of Leveret's is configured by. Its fields are documented by their keys: see [Keys].
type Config struct {
	Broker    Broker    `config:"broker"`
	Client    Client    `config:"client"`
	Worker    Worker    `config:"worker"`
	Log       Log       `config:"log"`
	Telemetry Telemetry `config:"telemetry"`
	Health    Health    `config:"health"`
	Data      Data      `config:"data"`
	Database  Database  `config:"database"`
}

// Client says how messages are sent.
type Client struct {
	MaxInFlight int  `config:"max_in_flight"`
	MaxBody     int  `config:"max_body"`
	ReplyQueue  bool `config:"reply_queue"`
}

// Worker says how messages are handled.
type Worker struct {
	Concurrency    int           `config:"concurrency"`
	Prefetch       int           `config:"prefetch"`
	HandlerTimeout time.Duration `config:"handler_timeout"`
	StuckAfter     time.Duration `config:"stuck_after"`
	DrainTimeout   time.Duration `config:"drain_timeout"`
	Stacks         bool          `config:"stacks"`
}

func (w Worker) err() error {
	if w.Prefetch != 0 && w.Prefetch < w.Concurrency {
		return fmt.Errorf("worker.prefetch: %d is less than worker.concurrency, which is %d", w.Prefetch, w.Concurrency)
	}
	return nil
}

// Log says what is logged, and how.
type Log struct {
	Level  string `config:"level"`
	Format string `config:"format"`
}

// Telemetry says where traces go.
type Telemetry struct {
	OTLPEndpoint string `config:"otlp_endpoint"`
}

// Health says where a program answers for its health.
type Health struct {
	Address string `config:"address"`
}

// Data says where files are kept.
type Data struct {
	Dir string `config:"dir"`
}
