package config_test

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/config"
)

// TestMain takes the settings of whoever runs the tests out of their environment.
func TestMain(m *testing.M) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, config.EnvPrefix) || name == "XDG_CONFIG_HOME" {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("HOME", os.TempDir()+"/no-home-for-leveret-tests")
	goleak.VerifyTestMain(m)
}
