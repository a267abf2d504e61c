package leveret_test

import (
	"os"
	"testing"

	"github.com/leveretmq/leveret/internal/testmain"
)

// TestMain runs the tests, or what a test has started this binary again for.
func TestMain(m *testing.M) {
	if r := roles[os.Getenv(processRole)]; r != nil {
		os.Exit(play(r))
	}
	testmain.Waiting(8)
	testmain.Leaks(m)
}
