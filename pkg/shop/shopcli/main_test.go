package shopcli_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/shop/shopcli"
	"github.com/leveretmq/leveret/queues"
)

// asCLI makes this test binary the command line, which starts services by starting itself again.
const asCLI = "SHOPCLI_TEST_AS_CLI"

func TestMain(m *testing.M) {
	if os.Getenv(asCLI) != "" {
		os.Exit(asMain())
	}
	testscript.Main(leakChecked{m}, map[string]func(){"leveret": func() { os.Exit(asMain()) }})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		return 1
	}
	return code
}

// asMain is what cmd/leveret does.
func asMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return cli.Main(ctx, queues.Catalog, shopcli.Commands()...)
}
