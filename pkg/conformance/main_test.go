package conformance

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) {
	testmain.Waiting(16)
	goleak.VerifyTestMain(m)
}
