package shopcli_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/internal/testmain"
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
	testmain.Waiting(4)
	testmain.Leaks(m, goleak.IgnoreTopFunction(testmain.StoppedProxy))
}

// asMain is what cmd/leveret does.
func asMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return cli.Main(ctx, queues.Catalog, shopcli.Commands()...)
}
