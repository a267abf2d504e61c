// Command hello is the command line for the contracts of package hello.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/leveretmq/leveret/pkg/cli"

	"github.com/leveretmq/leveret/examples/hello"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return cli.Main(ctx, hello.Catalog, hello.CountCommand)
}
