package service

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a program and exits the process with its exit code; it does not return. SIGTERM and SIGINT end the
// program's context. A second signal ends the process at once.
func Main(p Program) { os.Exit(run(p)) }

func run(p Program) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	ended := make(chan int, 1)
	go func() { ended <- p.Run(ctx, os.Args[1:], os.Stdout, os.Stderr) }()
	select {
	case code := <-ended:
		return code
	case s := <-signals:
		end(errors.New(s.String()))
	}
	select {
	case code := <-ended:
		return code
	case <-signals:
		return exitAtOnce
	}
}
