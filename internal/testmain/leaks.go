package testmain

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Leaks runs the tests of a package, fails if they leave goroutines, and ends the process.
func Leaks(m *testing.M, options ...goleak.Option) { os.Exit(Checked{m, options}.Run()) }

// Checked are tests that fail if they leave goroutines.
type Checked struct {
	M       *testing.M
	Options []goleak.Option
}

// Run runs the tests, and returns the process's exit code.
func (c Checked) Run() int {
	code := c.M.Run()
	if code != 0 {
		return code
	}
	if err := Leaked(c.Options...); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left after tests that passed:", err)
		return 1
	}
	return 0
}

// Leaked returns an error that lists the goroutines that are left. It gives them two minutes to end: goleak's own half a
// second is too short for one that is about to end on a busy machine.
func Leaked(options ...goleak.Option) error {
	for end := time.Now().Add(2 * time.Minute); ; {
		if err := goleak.Find(options...); err == nil || time.Now().After(end) {
			return err //nolint:wrapcheck // it is shown as it is
		}
	}
}
