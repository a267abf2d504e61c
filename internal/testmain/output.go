package testmain

import (
	"bytes"
	"os"
	"strings"
	"sync"
)

// An Output is what a program has written so far. It is safe for concurrent use.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// NoSettings removes the developer's own settings from the environment, except for those that select the RabbitMQ.
func NoSettings() {
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		switch {
		case name == "LEVERET_RABBITMQ_BIN", name == "LEVERET_BROKER_URL", name == "LEVERET_BROKER_MANAGEMENT_URL":
		case strings.HasPrefix(name, "LEVERET_"), strings.HasPrefix(name, "OTEL_"), name == "XDG_CONFIG_HOME", name == "XDG_DATA_HOME":
			_ = os.Unsetenv(name)
		}
	}
}
