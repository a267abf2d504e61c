// Command leveret is the command line of the reference system: it sends commands and requests, inspects queues and dead
// letters, and runs the services.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/shop/shopcli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return cli.Main(ctx, shopcli.Catalog, shopcli.Commands()...)
}
