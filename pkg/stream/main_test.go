package stream_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) {
	testmain.Waiting(8)
	testmain.Leaks(m, goleak.IgnoreTopFunction(testmain.StoppedProxy))
}
