// Package childtest is for tests of packages that measure in processes of their own: those start the test's binary again.
package childtest

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/process"
	"github.com/leveretmq/leveret/internal/testmain"
)

// Main runs the tests, or is the child process, which logs to log.
func Main(m *testing.M, log slog.Handler) {
	if len(os.Args) == 2 && os.Args[1] == process.Argument {
		if err := measure.Child(context.Background(), os.Stdin, os.Stdout, slog.New(log)); err != nil {
			os.Exit(1)
		}
		return
	}
	testmain.Leaks(m, goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"))
}
