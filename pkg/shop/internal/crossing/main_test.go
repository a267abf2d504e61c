// Package crossing_test proves that a request is the same over every transport: HTTP, gRPC and RabbitMQ, with Leveret on
// both sides or on one. It holds tests only.
package crossing_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/testmain"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		switch name {
		case "LEVERET_RABBITMQ_BIN", "LEVERET_BROKER_URL", "LEVERET_BROKER_MANAGEMENT_URL":
		default:
			if strings.HasPrefix(name, config.EnvPrefix) {
				_ = os.Unsetenv(name)
			}
		}
	}
	testmain.Leaks(m)
}
