package cli_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
)

// TestMain removes Leveret's settings from the environment of the tests, and makes the test binary the program kitchen,
// too: the scripts run it as a separate process.
func TestMain(m *testing.M) {
	program := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "kitchen"
	for _, pair := range os.Environ() {
		if program {
			break
		}
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, config.EnvPrefix) && name != "LEVERET_RABBITMQ_BIN" || name == "XDG_CONFIG_HOME" {
			_ = os.Unsetenv(name)
		}
	}
	testmain.Waiting(8)
	testscript.Main(leakChecked{m}, map[string]func(){"kitchen": func() { os.Exit(kitchen()) }})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(goleak.IgnoreTopFunction(testmain.StoppedProxy)); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// kitchen is a program as a user of the package writes one.
func kitchen() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	streams, flush := scrubbed(term.System())
	defer flush()
	streams.Err = undisturbed{streams.Err}
	return int(cli.Run(ctx, cli.Config{
		Catalog: catalog, Args: os.Args[1:], Name: "kitchen", Version: "1.2.3", Streams: streams, Extra: []cli.Extra{cleanCommand},
	}))
}
