package cli_test

import (
	"context"
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
	cli.WaitLonger()
	testmain.Waiting(8)
	testscript.Main(testmain.Checked{M: m, Options: []goleak.Option{goleak.IgnoreTopFunction(testmain.StoppedProxy)}}, map[string]func(){"kitchen": func() { os.Exit(kitchen()) }})
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
