package conformance

import (
	"testing"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) {
	testmain.Waiting(16)
	testmain.Leaks(m)
}
