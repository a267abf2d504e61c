package report_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) {
	testmain.Leaks(m, goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"))
}
