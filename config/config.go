package config

import (
	"fmt"
	"time"
)

// Config holds the settings common to all of Leveret's programs. For the meaning of its fields, see their keys in
// [Keys].
type Config struct {
	Broker    Broker    `config:"broker"`
	Client    Client    `config:"client"`
	Worker    Worker    `config:"worker"`
	HTTP      HTTP      `config:"http"`
	GRPC      GRPC      `config:"grpc"`
	TLS       Identity  `config:"tls"`
	Log       Log       `config:"log"`
	Telemetry Telemetry `config:"telemetry"`
	Health    Health    `config:"health"`
	CLI       CLI       `config:"cli"`
	Data      Data      `config:"data"`
	Database  Database  `config:"database"`
}

// Client holds the settings for sending messages.
type Client struct {
	MaxInFlight int  `config:"max_in_flight"`
	MaxBody     int  `config:"max_body"`
	ReplyQueue  bool `config:"reply_queue"`
}

// Worker holds the settings for handling messages.
type Worker struct {
	Concurrency    int           `config:"concurrency"`
	Prefetch       int           `config:"prefetch"`
	HandlerTimeout time.Duration `config:"handler_timeout"`
	StuckAfter     time.Duration `config:"stuck_after"`
	DrainTimeout   time.Duration `config:"drain_timeout"`
	NoQuarantine   bool          `config:"no_quarantine"`
	Stacks         bool          `config:"stacks"`
}

func (w Worker) err() error {
	if w.Prefetch != 0 && w.Prefetch < w.Concurrency {
		return fmt.Errorf("worker.prefetch: %d is less than worker.concurrency, which is %d", w.Prefetch, w.Concurrency)
	}
	return nil
}

// Log holds the settings for logging.
type Log struct {
	Level  string `config:"level"`
	Format string `config:"format"`
}

// Telemetry holds the settings for tracing.
type Telemetry struct {
	OTLPEndpoint string `config:"otlp_endpoint"`
}

// Health holds the settings of the health server.
type Health struct {
	Address    string        `config:"address"`
	DrainDelay time.Duration `config:"drain_delay"`
}

// CLI holds the settings of the command line.
type CLI struct {
	RevealSecrets bool `config:"reveal_secrets"`
}

// Data holds the settings for files.
type Data struct {
	Dir string `config:"dir"`
}
