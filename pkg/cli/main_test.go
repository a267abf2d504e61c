package cli_test

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestMain removes Leveret's settings from the environment of the tests, and makes the test binary the programs kitchen
// and bakery, too: the scripts run them as separate processes.
func TestMain(m *testing.M) {
	isProgram := slices.Contains([]string{"kitchen", "bakery"}, strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"))
	for _, pair := range os.Environ() {
		if isProgram {
			break
		}
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, config.EnvPrefix) && name != "LEVERET_RABBITMQ_BIN" || name == "XDG_CONFIG_HOME" {
			_ = os.Unsetenv(name)
		}
	}
	cli.WaitLonger()
	testmain.Waiting(8)
	testscript.Main(testmain.Checked{M: m, Options: []goleak.Option{goleak.IgnoreTopFunction(testmain.StoppedProxy)}}, map[string]func(){
		"kitchen": func() { os.Exit(program("kitchen", catalog, cleanCommand)) },
		"bakery":  func() { os.Exit(program("bakery", bakery)) },
	})
}

// program is one as a user of the package writes it.
func program(name string, contracts *leveret.Catalog, extra ...cli.Extra) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	streams, flush := scrubbed(term.System())
	defer flush()
	streams.Err = undisturbed{streams.Err}
	return int(cli.Run(ctx, cli.Config{
		Catalog: contracts, Args: os.Args[1:], Name: name, Version: "1.2.3", Streams: streams, Extra: extra,
	}))
}
