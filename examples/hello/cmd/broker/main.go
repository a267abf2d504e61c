// Command broker runs a private RabbitMQ until Ctrl-C, for machines where none is running.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/leveretmq/leveret/pkg/devbroker"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := devbroker.Start(ctx, devbroker.Config{Private: true, Output: os.Stderr})
	if err != nil {
		return err
	}
	fmt.Printf("# management UI: %s (%s / %s); set these in the other terminals:\n", b.ManagementURL(), b.Username(), b.Password())
	fmt.Printf("export LEVERET_BROKER_URL=%s LEVERET_BROKER_MANAGEMENT_URL=%s\n", b.URL(), b.ManagementURL())
	<-ctx.Done()
	return b.Close(context.WithoutCancel(ctx))
}
