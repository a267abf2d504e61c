package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/testmain"
)

// TestMain removes the developer's own settings from the environment.
func TestMain(m *testing.M) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, config.EnvPrefix) || name == "XDG_CONFIG_HOME" {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("HOME", os.TempDir()+"/no-home-for-leveret-tests")
	testmain.Leaks(m)
}
